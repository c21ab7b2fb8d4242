"""Frozen settings: everything that decides what a member or an ensemble is, and the hash that names it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.files import digest
from ensemble.core.registry import BUILT_IN

S = TypeVar("S", bound="Settings")

FORMAT_VERSION = 1

Background = Literal["void", "class", "zero-weight"]
Precision = Literal["fp32", "bf16"]
OptimiserKind = Literal["adamw-fused", "adamw"]
Keep = Literal["last", "best"]
Tta = Literal["none", "flips", "d4"]
Calibrate = Literal["none", "members", "pool", "both"]
Decide = Literal["argmax", "offsets"]


class Settings(BaseModel):
    """Base of all settings: frozen, keyword-only, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise EnsError(f"unfit setting {first_problem(error)}") from None

    def content_hash(self, *salt: str) -> str:
        """Digest of the settings as canonical JSON, plus ``salt`` (such as the hash of the data)."""
        return digest(self.model_dump_json(exclude=self._not_content()), *salt)

    def _not_content(self) -> dict[str, Any]:
        return {}


class DataSettings(Settings):
    """Which data, what its class 0 is, and how it is split."""

    source: str = "sample"
    background: Background | None = None
    image_size: tuple[int, int] | None = None
    val_fraction: float = Field(default=0.2, gt=0, lt=1)
    folds: int | None = Field(default=None, ge=2)
    split_seed: int = 0
    unscored: tuple[str, ...] = Field(default=(), description="ids of images left out of training and score")


class Component(Settings):
    """A registered architecture or loss with its options, and where it comes from."""

    name: str
    options: dict[str, Any] = {}
    origin: str = Field(default=BUILT_IN, description="the plug-in file and its digest, or a package and its version")


class OptimiserSettings(Settings):
    """AdamW under a cosine schedule with linear warm-up, gradient clipping and an EMA of the weights."""

    lr: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of the steps spent warming up")
    clip: float = Field(default=1.0, gt=0, description="largest gradient norm")
    ema_span: float = Field(default=0.02, ge=0, lt=1, description="EMA time constant as a share of the steps")
    kind: OptimiserKind = Field(default="adamw-fused", description="the fused kernel; the plain one rounds otherwise")


class MemberSettings(Settings):
    """One member: architecture x loss x augmentation x seed (x folds), and what changes its bits."""

    data: DataSettings = DataSettings()
    architecture: Component
    pretrained: str | None = Field(default=None, description="'imagenet', or the digest of a file of encoder weights")
    loss: Component
    augmentation: str | dict[str, Any] = "flips"
    sampler: str = "uniform"
    exclude: tuple[str, ...] = Field(default=(), description="ids of images left out of training, not of the score")
    optimiser: OptimiserSettings = OptimiserSettings()
    epochs: int | None = Field(default=None, ge=1)
    budget_seconds: float | None = Field(default=None, gt=0)
    batch_size: int = Field(default=32, ge=2)
    seed: int = Field(default=0, ge=0)
    keep: Keep = "last"
    tta: Tta = Field(default="none", description="views of an image that its prediction is the mean of")
    device: str = "cpu"
    precision: Precision = "fp32"
    threads: int = Field(default=1, ge=1)
    processes: int = Field(default=1, ge=1, description="that train together, each on its share of a batch")
    deterministic: bool = Field(default=False, description="only operations that give the same bits every time")

    @model_validator(mode="before")
    @classmethod
    def _kind_on_mps(cls, fields: Any) -> Any:
        """On mps the fused kernel is not used; members from before the kind was stored were trained so, too."""
        if not isinstance(fields, dict) or fields.get("device") != "mps":
            return fields
        given: Any = fields.get("optimiser", {})
        if isinstance(given, OptimiserSettings):
            given = given.model_dump(exclude_unset=True)
        return fields | {"optimiser": {"kind": "adamw"} | given} if isinstance(given, dict) else fields

    def _not_content(self) -> dict[str, Any]:
        # Paths are not content (the hashes of data and weights are); epochs measured from a budget follow from it;
        # fields that came later are left out where they say what was always done, so that names stay.
        left_out: dict[str, Any] = {"data": {"source": True}, "architecture": {"options": {"encoder_weights": True}}}
        if self.budget_seconds is not None:
            left_out["epochs"] = True
        if not self.deterministic:
            left_out["deterministic"] = True
        if self.tta == "none":
            left_out["tta"] = True
        if self.processes == 1:
            left_out["processes"] = True
        if self.optimiser.kind == ("adamw" if self.device == "mps" else "adamw-fused"):
            left_out["optimiser"] = {"kind": True}
        return left_out

    def directory_name(self, data_hash: str) -> str:
        """``<arch>-<loss>-s<seed>-<hash6>``: a function of the settings and the data alone."""
        parts = (slug(self.architecture.name), slug(self.loss.name), f"s{self.seed}", self.content_hash(data_hash)[:6])
        return "-".join(parts)


class PoolSettings(Settings):
    """How an ensemble was made: its members by directory name, the method with its options, and what follows it."""

    members: tuple[str, ...]
    method: str
    options: dict[str, Any] = {}
    calibrate: Calibrate = "none"
    decide: Decide = "argmax"
    top: int | None = Field(default=None, ge=1, description="members kept; all where None")
    data_hash: str
    split_hash: str
    crossfit_folds: int = Field(default=5, ge=2)
    seed: int = 0

    def directory_name(self) -> str:
        """``<method>-<count>-<hash6>``: a function of members, method and options."""
        return f"{slug(self.method)}-{len(self.members)}-{self.content_hash()[:6]}"


class DataFacts(Settings):
    """What a member remembers of the data it was trained on."""

    name: str
    data_hash: str
    split_hash: str
    background: Background
    classes: tuple[str, ...]
    values: tuple[int, ...]
    keras_ignored: int | None = Field(default=None, description="scored class that the published metric ignores")
    bands: int
    span: tuple[float, float] = Field(default=(0.0, 255.0), description="raw pixel values that became 0 and 1")
    height: int
    width: int

    @property
    def outputs(self) -> int:
        """Output channels: the scored classes, and a background channel under ``zero-weight``."""
        return len(self.classes) + (self.background == "zero-weight")


def slug(text: str) -> str:
    """Lower-case letters, digits, dots and hyphens only: ``0.5*dice + ce`` becomes ``0.5dice-ce``."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower().replace("*", "")).strip("-")


def load_settings(kind: type[S], content: Any, path: Path) -> S:
    """Validate ``content`` read from ``path``; what does not fit is an :class:`EnsError` naming the field."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise EnsError(f"{path} is not a valid configuration: {first_problem(error)}") from None


def first_problem(error: ValidationError) -> str:
    """The first validation problem as ``field: what is wrong (got value)``."""
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"])
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, EnsError):  # from settings inside these
        return ".".join(part for part in (field, str(cause).removeprefix("unfit setting ")) if part)
    what = f"{problem['msg'][0].lower()}{problem['msg'][1:]} (got {problem.get('input')!r})"
    return f"{field}: {what}" if field else what


_DURATION = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>s|m|h)?", re.IGNORECASE)


def parse_duration(text: str) -> float:
    """Seconds in ``90``, ``90s``, ``5m`` or ``1.5h``.

    >>> parse_duration("5m")
    300.0
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or float(match["number"]) <= 0:
        raise EnsError(f"expected a duration such as 90s, 5m or 1.5h, got '{text}'")
    return float(match["number"]) * {"s": 1, "m": 60, "h": 3600}[(match["unit"] or "s").lower()]


def parse_size(text: str) -> tuple[int, int]:
    """Height and width in ``64x128``.

    >>> parse_size("64x128")
    (64, 128)
    """
    match = re.fullmatch(r"(\d+)\s*[xX]\s*(\d+)", text.strip())
    if match is None or min(int(match[1]), int(match[2])) < 32:
        raise EnsError(f"expected an image size as HEIGHTxWIDTH of at least 32x32, such as 64x128, got '{text}'")
    return int(match[1]), int(match[2])


def data_settings(
    data: str | Path,
    *,
    background: str | None = None,
    image_size: str | tuple[int, int] | None = None,
    val_fraction: float = 0.2,
    folds: int | None = None,
    split_seed: int = 0,
) -> DataSettings:
    """Checked settings of a data set and its split.

    Raises:
        EnsError: one fold, a share outside 0..1, an unknown background or a size that is none.
    """
    if background is not None and background not in get_args(Background):
        raise UnknownName("background", background, get_args(Background))
    if folds is not None and folds < 2:
        raise EnsError(f"expected at least 2 folds, got {folds}; leave --folds out for a hold-out of --val-fraction")
    if not 0 < val_fraction < 1:
        raise EnsError(f"expected a validation share between 0 and 1, got {val_fraction:g}; try 0.2")
    return DataSettings(
        source=str(data),
        background=cast(Background | None, background),
        image_size=parse_size(image_size) if isinstance(image_size, str) else image_size,
        val_fraction=val_fraction,
        folds=folds,
        split_seed=split_seed,
    )

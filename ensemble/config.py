"""Every setting once: name, type, default, bound, help text and help panel; and what names a member or an ensemble.

``TrainSettings`` is what a user can set for one member. The options of `ens train` and `ens tune`, the keys of recipes
and the signature of ``ensemble.train`` follow from its fields. ``MemberSettings`` is what a member stores: the same
settings, resolved. To add a setting of training:

1. Add its field to ``TrainSettings``, or to a class that both inherit if it is stored as it is given.
2. If members store it, name it in ``MemberSettings.COUNTED``, and in ``COUNTED_IF_CHANGED`` so that the names of older
   members stay.
3. Use it where it acts.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from ensemble.core.data_kinds import DATA, help_text
from ensemble.core.errors import EnsError
from ensemble.core.registry import BUILT_IN, IMPORTED, Between, Search
from ensemble.core.settings import S, Settings
from ensemble.core.units import parse_duration, parse_size

Background = Literal["void", "class", "zero-weight"]
Precision = Literal["fp32", "bf16"]
OptimiserName = Literal["adamw", "muon"]
OptimiserKind = Literal["adamw-fused", "adamw"]
Keep = Literal["last", "best"]
Tta = Literal["none", "hflip", "vflip", "flips", "d4"]
Calibrate = Literal["none", "members", "pool", "both"]
Decide = Literal["argmax", "offsets", "expected-iou", "expected-dice"]
Standardise = Literal["data", "imagenet", "half"]
DecideFrom = Literal["validation", "images"]
SmallestObject = int | Literal["auto"] | None
WithinBy = Literal["miou", "log-loss"]

_RATE, _DECAY = Between(3e-4, 3e-2, log=True), Between(1e-4, 1e-1, log=True)
RATES: dict[OptimiserName, float] = {"adamw": 2e-3, "muon": 1.5e-2}
"""Learning rates by default."""


def _size(given: Any) -> Any:
    """Return height and width of text such as ``64x128``; one number is refused."""
    return parse_size(str(given)) if isinstance(given, str | int) else given


Size = Annotated[tuple[int, int] | None, BeforeValidator(_size)]
Crop = Annotated[
    tuple[int, int] | Literal["none"] | None,
    BeforeValidator(lambda size: size if size == "none" else _size(size)),
]


def _stages(given: Any) -> Any:
    """Return ``none``, ``encoder`` or a number of stages."""
    text = str(given).strip()
    if text.isdecimal() and int(text) > 0:
        return int(text)
    if text not in ("none", "encoder"):
        raise EnsError(f"expected none, encoder, or a number of its first stages of at least 1, got {given}")
    return text


Freeze = Annotated[Literal["none", "encoder"] | int, BeforeValidator(_stages)]
Seconds = Annotated[float | None, BeforeValidator(lambda time: parse_duration(time) if isinstance(time, str) else time)]


def _setting(
    panel: str, help_text: str, default: Any = ..., *, shown: str = "", search: Search | None = None, **bounds: Any
) -> Any:
    """Return the field of a setting that users see.

    Args:
        panel: the group in which `ens train --help` lists it.
        help_text: a noun phrase.
        default: its default; a setting without one is required.
        shown: the default in words, if it is None.
        search: where `ens tune` looks for a better value.
        bounds: ``ge``, ``gt``, ``le``, ``lt``.
    """
    extra: dict[str, Any] = {"panel": panel, "shown": shown, "search": search}
    return Field(default, description=help_text, json_schema_extra=extra, **bounds)


class SplitSettings(Settings):
    """What class 0 is, and how the images are split."""

    background: Background | None = _setting(
        "Data", "Meaning of class 0: void, class or zero-weight", None, shown="npz: void; folder: class"
    )
    val_fraction: float = _setting("Data", "Share of the images held out", 0.2, gt=0, lt=1)
    folds: int | None = _setting("Data", "Number of folds, predicted out-of-fold", None, ge=2, shown="a hold-out")
    split: str | None = _setting(
        "Data",
        "File of the split (id, and part or fold), or none for a new one",
        None,
        shown="the official one, if any",
    )
    split_seed: int = _setting("Data", "Seed of the split; members to be combined share it", 0)


class DataSettings(SplitSettings):
    """Which data, what class 0 is, and how the images are split."""

    source: str = "sample"
    unscored: tuple[str, ...] = Field(default=(), description="ids of images left out of training and score")
    vault: tuple[str, ...] = Field(default=(), description="ids of images that are set aside for the last score")

    @model_validator(mode="before")
    @classmethod
    def _of_version_02(cls, fields: Any) -> Any:
        """Read members that stored no ``image_size``; refuse those that were scored in resized pixels."""
        if not isinstance(fields, dict) or "image_size" not in fields:
            return fields
        if fields["image_size"] is not None:
            raise EnsError(
                f"its images were resized to {fields['image_size']} before they were scored, as versions before 0.3"
                " did; train it again with input_size, which keeps the scores in native pixels"
            )
        return {name: value for name, value in fields.items() if name != "image_size"}


class InputSettings(Settings):
    """What the network sees of an image; loss, scores and stored probabilities are in native pixels whatever it is."""

    input_size: Size = _setting(
        "Input",
        "Size of whole images for the network, where the whole scene counts; excludes the two others",
        None,
        shown="as they are",
    )
    input_scale: float = _setting(
        "Input",
        "Factor by which the network sees images enlarged: 2 for small objects",
        1.0,
        ge=0.125,
        le=8,
    )
    standardise: Standardise = _setting(
        "Input",
        "Mean and deviation of pixels for the network: data (the training images), imagenet, or half (0.5, as"
        " EfficientNet-Lite expects)",
        "data",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.input_scale * 8 % 1:  # tiles are resized as the whole image is if they begin at multiples of a fraction
            below = self.input_scale * 8 // 1 / 8
            raise EnsError(
                f"expected a multiple of 0.125 as input_scale, got {self.input_scale:g}; choose {below:g} or"
                f" {below + 0.125:g}"
            )
        if self.input_size is not None and self.input_scale != 1:
            raise EnsError("expected either input_size or input_scale, got both; input_size decides the factor alone")
        return self


class EncoderSettings(Settings):
    """How the encoder of a network learns, if it starts from weights that already know something."""

    encoder_lr: float = _setting("Training", "Factor on the learning rate of the encoder", 1.0, gt=0, le=10)
    freeze: Freeze = _setting(
        "Training", "Parts that stay as they start: none, encoder, or a number of its first stages", "none"
    )
    head_warmup: float = _setting("Training", "Share of the steps before the encoder learns, too", 0.0, ge=0, lt=1)

    @property
    def treats_encoder(self) -> bool:
        """Whether the encoder learns otherwise than the rest."""
        return self.freeze != "none" or self.encoder_lr != 1 or self.head_warmup > 0

    @model_validator(mode="after")
    def _something_learns(self) -> Self:
        if self.freeze == "encoder" and (self.encoder_lr != 1 or self.head_warmup):
            name = "encoder_lr" if self.encoder_lr != 1 else "head_warmup"
            raise EnsError(f"expected either freeze encoder or {name}, got both; a frozen encoder does not learn")
        return self


class OptimiserOptions(Settings):
    """A cosine schedule with linear warm-up, weight decay, gradient clipping and an EMA of the weights."""

    lr: float | None = _setting(
        "Training", "Largest learning rate", None, gt=0, search=_RATE, shown="0.002 of adamw, 0.015 of muon"
    )
    weight_decay: float = _setting("Training", "Weight decay, for matrices", 1e-2, ge=0, search=_DECAY)
    warmup: float = _setting("Training", "Share of the steps in which the learning rate rises", 0.1, ge=0, lt=1)
    clip: float = _setting("Training", "Largest norm of the gradient", 1.0, gt=0)
    ema_span: float = _setting("Training", "Span of the averaged weights, as a share of the steps", 0.02, ge=0, lt=1)


class OptimiserSettings(OptimiserOptions):
    """The optimiser of a member: its options, and which implementation ran."""

    name: OptimiserName = "adamw"
    lr: float = Field(  # pyright: ignore[reportIncompatibleVariableOverride]  (settings are frozen)
        default=RATES["adamw"], gt=0, description="largest learning rate"
    )
    kind: OptimiserKind = Field(
        default="adamw-fused", description="AdamW implementation; the fused kernel gives slightly different rounding"
    )


class TrainingSettings(InputSettings, EncoderSettings):
    """Settings that a member stores as they are given."""

    sampler: str = _setting("Training", "Images of a batch: uniform, or 'rare(per_batch=3)'", "uniform")
    epochs: int | None = _setting(
        "Training", "Passes over the training images, instead of steps", None, ge=1, shown="from steps"
    )
    batch_size: int = _setting("Training", "Images per step", 32, ge=2)
    seed: int = _setting("Training", "Seed of weights, order and augmentation", 0, ge=0)
    keep: Keep = _setting("Training", "Epoch to keep: last, or best (marks the score as selected)", "last")
    tta: Tta = _setting("Training", "Views that predictions average: none, hflip, vflip, flips or d4", "none")
    deterministic: bool = _setting("Hardware", "Only operations that repeat their bits, on a GPU too", False)


class TrainSettings(SplitSettings, OptimiserOptions, TrainingSettings):
    """Everything that a user can set for one member."""

    data: str = _setting("Data", help_text(DATA), "sample")
    crop: Crop = _setting(
        "Input",
        "Windows of large images to train on, such as 256x256, or none for whole images",
        None,
        shown="none if small and of one size",
    )
    # The defaults of network, loss, augmentation and length were chosen by measurement: experiments/README.md.
    arch: str = _setting("Network", "Architecture, such as 'unet(filters=24)'; see `ens list architectures`", "unet")
    loss: str = _setting(
        "Network", "Loss or sum, such as '0.5*dice + 0.5*focal(gamma=2)'; see `ens list losses`", "weighted-ce"
    )
    augment: str = _setting("Training", "Augmentations, such as 'hflip + scale + photometric'", "hflip")
    optimiser: OptimiserName | None = _setting(
        "Training", "Optimiser: adamw or muon", None, shown="muon for a network from random weights, else adamw"
    )
    steps: int | None = _setting("Training", "Optimiser steps, rounded to whole passes", None, ge=1, shown="600")
    exclude: str | None = _setting("Data", "Images left out of training: suspects.csv or suspects.csv:reason", None)
    exclude_from_score: bool = _setting("Data", "Leave them out of the score, too", False)
    budget: Seconds = _setting("Training", "Time such as 5m for loading and training, instead of steps", None, gt=0)
    device: str = _setting("Hardware", "Device: auto, cpu, cuda or mps", "auto")
    precision: str = _setting("Hardware", "Precision: auto, fp32 or bf16", "auto")

    def part(self, kind: type[S], **more: Any) -> S:
        """Return settings of another class: the fields that both have, and ``more``."""
        shared = {name: getattr(self, name) for name in kind.model_fields if name in type(self).model_fields}
        return kind(**(shared | more))


class Component(Settings):
    """A registered architecture or loss with its options, and where it comes from."""

    name: str
    options: dict[str, Any] = Field(default={})
    origin: str = Field(default=BUILT_IN, description="the plug-in file and its digest, or a package and its version")


class TeachingOptions(Settings):
    """How a student learns from an ensemble, in addition to its own labels."""

    label_share: float = _setting(
        "Student", "Share of the loss that labels have; the teachers have the rest", 0.5, ge=0, lt=1
    )
    unlabelled_share: float = _setting(
        "Student", "Share of the images of a batch that are unlabelled, if there are such", 0.25, gt=0, lt=1
    )
    inner_folds: int = _setting(
        "Student",
        "Parts of the training images, each predicted by networks that have not seen it (hold-out, or 2 folds)",
        4,
        ge=2,
    )


class Teaching(TeachingOptions):
    """What a student was taught by."""

    ensemble: str = Field(description="name of the ensemble")
    teachers: str = Field(description="digest of its members and of how it combines them")
    unlabelled: tuple[str, ...] = Field(default=(), description="where the unlabelled images lay")
    images: str = Field(default="", description="digest of the unlabelled images")
    saw_test: bool = Field(default=False, description="whether test images of the data were among them")


class MemberSettings(TrainingSettings):
    """One member: architecture x loss x augmentation x seed (x folds), and everything else that changes its bits."""

    data: DataSettings = DataSettings()
    architecture: Component
    pretrained: str | None = Field(
        default=None, description="'imagenet', 'package:NAME', or the digest of a file of encoder weights"
    )
    loss: Component
    augmentation: str | dict[str, Any] = "flips"
    crop: tuple[int, int] | None = Field(default=None, description="windows that were trained on; None: whole images")
    epoch_steps: int | None = Field(
        default=None,
        ge=1,
        description="steps of an epoch of windows, if it ends before it covers all images",
    )
    exclude: tuple[str, ...] = Field(default=(), description="ids of images left out of training, not of the score")
    optimiser: OptimiserSettings = OptimiserSettings()
    budget_seconds: float | None = Field(default=None, gt=0)
    device: str = "cpu"
    precision: Precision = "fp32"
    threads: int = Field(default=1, ge=1)
    processes: int = Field(default=1, ge=1, description="number of processes that train together")
    refit_of: str = Field(default="", description="name of the twin, if it was trained on all labelled images")
    taught: Teaching | None = Field(default=None, description="what a student was taught by")

    COUNTED: ClassVar[tuple[str, ...]] = (
        *("data", "architecture", "pretrained", "loss", "augmentation", "sampler", "exclude", "optimiser", "epochs"),
        *("budget_seconds", "batch_size", "seed", "keep", "tta", "device", "precision", "threads", "processes"),
        *("deterministic", "crop", "input_size", "input_scale", "epoch_steps", "refit_of"),
        *("encoder_lr", "freeze", "head_warmup", "taught", "standardise"),
    )
    """Fields that count for the name of a member, in the order in which they are hashed."""

    COUNTED_IF_CHANGED: ClassVar[tuple[str, ...]] = (
        *("tta", "processes", "deterministic", "crop", "input_size", "input_scale", "epoch_steps", "refit_of"),
        *("encoder_lr", "freeze", "head_warmup", "taught", "standardise"),
    )
    """Those of them that count only if they differ from their default: older members keep their names."""

    @model_validator(mode="before")
    @classmethod
    def _without_cycles(cls, fields: Any) -> Any:
        """Leave out the cycles of a training in one cycle: development versions of 0.3.0 stored them."""
        if not isinstance(fields, dict) or fields.get("cycles", 1) != 1:
            return fields
        return {name: value for name, value in fields.items() if name not in ("cycles", "snapshot")}

    @model_validator(mode="before")
    @classmethod
    def _kind_on_mps(cls, fields: Any) -> Any:
        """Set the plain AdamW on mps: the fused kernel is not used there, also by members that stored no kind."""
        if not isinstance(fields, dict) or fields.get("device") != "mps":
            return fields
        given: Any = fields.get("optimiser", {})
        if isinstance(given, OptimiserSettings):
            given = given.model_dump(exclude_unset=True)
        return fields | {"optimiser": {"kind": "adamw"} | given} if isinstance(given, dict) else fields

    def _hashed(self) -> dict[str, Any]:
        # Paths do not count (the hashes of data, split and weights do), nor does a length that follows from a budget.
        excluded: dict[str, Any] = {
            "data": {"source": True, "split": True, "vault": True},
            "architecture": {"options": {"encoder_weights": True}},
            "taught": {"unlabelled": True},
        }
        if self.budget_seconds is not None:
            excluded |= {"epochs": True, "epoch_steps": True}
        usual = {"name": "adamw", "kind": "adamw" if self.device == "mps" else "adamw-fused"}
        excluded["optimiser"] = {name: getattr(self.optimiser, name) == value for name, value in usual.items()}
        defaults = type(self).model_fields
        unchanged = [name for name in self.COUNTED_IF_CHANGED if getattr(self, name) == defaults[name].default]
        content = self.model_dump(exclude=excluded | dict.fromkeys(unchanged, True))
        data = content["data"]  # with a setting of version 0.2, so that the names of its members stay
        content["data"] = {"background": data.pop("background"), "image_size": None} | data
        return {name: content[name] for name in self.COUNTED if name in content}

    @property
    def trained_elsewhere(self) -> bool:
        """Whether another tool trained the member, so that nobody here knows how."""
        return IMPORTED in (self.loss.origin, self.architecture.origin)

    def training_hash(self, data_hash: str, split_hash: str) -> str:
        """Return a hash that members of one training share: those that differ only in test-time augmentation."""
        return self.model_copy(update={"tta": "none"}).content_hash(data_hash, split_hash)

    def window(self, facts: DataFacts) -> tuple[int, int]:
        """Return height and width of what one image of a batch holds: a crop, or the largest whole image."""
        return self.crop or (facts.height, facts.width)

    def directory_name(self, data_hash: str) -> str:
        """Return ``<arch>-<loss>-s<seed>-<hash6>``: a function of the settings and the data alone."""
        parts = (slug(self.architecture.name), slug(self.loss.name), f"s{self.seed}", self.content_hash(data_hash)[:6])
        return "-".join(parts)


def decision_text(decide: Decide, decide_from: DecideFrom, smallest_object: SmallestObject = None) -> str:
    """Return how classes are decided, for tables.

    >>> decision_text("expected-iou", "images", "auto")
    'expected-iou from images, smallest object auto'
    """
    source = " from images" if decide_from == "images" else ""
    return f"{decide}{source}{f', smallest object {smallest_object}' if smallest_object else ''}"


class PoolSettings(Settings):
    """How an ensemble was made: its members by directory name, the method with its options, and what follows it."""

    members: tuple[str, ...]
    method: str
    options: dict[str, Any] = Field(default={})
    calibrate: Calibrate = "none"
    decide: Decide = "argmax"
    decide_from: DecideFrom = Field(default="validation", description="images whose expected scores decide")
    smallest_object: SmallestObject = Field(default=None, description="pixels of objects that stay; auto: per class")
    top: int | None = Field(default=None, ge=1, description="number of members kept; None keeps all")
    within: str | None = Field(default=None, description="what one image may cost")
    keep_gain: float | None = Field(
        default=None, description="share of the gain that a cascade keeps; None: no cascade"
    )
    data_hash: str
    split_hash: str
    crossfit_folds: int = Field(default=5, ge=2)
    seed: int = 0

    @property
    def decision(self) -> str:
        """How classes are decided, for tables."""
        return decision_text(self.decide, self.decide_from, self.smallest_object)

    def directory_name(self) -> str:
        """Return ``<method>-<count>-<hash6>``: a function of members, method and options."""
        return f"{slug(self.method)}-{len(self.members)}-{self.content_hash()[:6]}"

    def _hashed(self) -> dict[str, Any]:  # without what version 0.2 did not have, so that names stay
        new = {"decide_from": "validation", "smallest_object": None, "within": None, "keep_gain": None}
        return self.model_dump(exclude={name for name, before in new.items() if getattr(self, name) == before})


class DataFacts(Settings):
    """What a member remembers of the data it was trained on."""

    name: str
    data_hash: str
    split_hash: str
    background: Background
    classes: tuple[str, ...]
    values: tuple[int, ...]
    keras_ignored: int | None = Field(default=None, description="scored class that the published metric ignores")
    colours: tuple[str, ...] = Field(default=(), description="colour of each class, if masks have colours")
    bands: int
    span: tuple[float, float] = Field(default=(0.0, 255.0), description="raw pixel values that became 0 and 1")
    height: int = Field(description="the largest height of a labelled image")
    width: int = Field(description="the largest width of a labelled image")

    @property
    def outputs(self) -> int:
        """Output channels: the scored classes, and a background channel under ``zero-weight``."""
        return len(self.classes) + (self.background == "zero-weight")


def slug(text: str) -> str:
    """Return lower-case letters, digits, and between them dots and hyphens: ``0.5*dice + ce`` is ``0.5dice-ce``."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower().replace("*", "")).strip("-.")

"""The commands as Python functions: ``ensemble.train``, ``combine``, ``predict``, ``load``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.config import Calibrate, DataSettings, Decide, parse_duration, parse_size
from ensemble.errors import EnsError, UnknownName
from ensemble.members import Member, read_status
from ensemble.progress import Tick, silent
from ensemble.tta import check_tta

if TYPE_CHECKING:
    import pandas as pd

    from ensemble.data import Dataset
    from ensemble.data.check import Suspect
    from ensemble.pool.ensembles import Combination
    from ensemble.predict import Predictor
    from ensemble.training.plan import Plan

BACKGROUNDS = ("void", "class", "zero-weight")
KEEPS = ("last", "best")


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
    if background is not None and background not in BACKGROUNDS:
        raise UnknownName("background", background, BACKGROUNDS)
    if folds is not None and folds < 2:
        raise EnsError(f"expected at least 2 folds, got {folds}; leave --folds out for a hold-out of --val-fraction")
    if not 0 < val_fraction < 1:
        raise EnsError(f"expected a validation share between 0 and 1, got {val_fraction:g}; try 0.2")
    return DataSettings(
        source=str(data),
        background=background,
        image_size=parse_size(image_size) if isinstance(image_size, str) else image_size,
        val_fraction=val_fraction,
        folds=folds,
        split_seed=split_seed,
    )


def train(
    data: str | Path = "sample",
    *,
    arch: str,
    loss: str,
    arch_options: Mapping[str, Any] | None = None,
    loss_options: Mapping[str, Any] | None = None,
    encoder: str | None = None,
    encoder_weights: str | None = None,
    augment: str = "flips",
    sampler: str = "uniform",
    exclude: str | None = None,
    exclude_from_score: bool = False,
    epochs: int | None = None,
    budget: str | float | None = None,
    batch_size: int = 32,
    lr: float | None = None,
    weight_decay: float | None = None,
    seed: int = 0,
    folds: int | None = None,
    val_fraction: float = 0.2,
    split_seed: int = 0,
    background: str | None = None,
    image_size: str | tuple[int, int] | None = None,
    keep: str = "last",
    tta: str = "none",
    device: str = "auto",
    precision: str = "auto",
    deterministic: bool = False,
    out: str | Path = "runs",
    tick: Tick = silent,
    on_plan: Callable[[Plan], None] | None = None,
) -> Member:
    """Train one member, resume it, or open it where it is trained already.

    Args:
        data: an npz file, a folder with ``images/`` and ``masks/``, or ``sample``.
        arch: a registered architecture; see ``ensemble.architectures.ARCHITECTURES``.
        loss: a registered loss or a weighted sum such as ``"0.5*dice + 0.5*weighted-ce"``.
        arch_options: options of the architecture by name.
        loss_options: options of the loss by name.
        encoder: shorthand for the architecture's option ``encoder``.
        encoder_weights: shorthand for its option of that name: ``imagenet``, or a file.
        augment: a sum of augmentations such as ``"geometric + copy-paste(count=4)"``; a TOML file may be one.
        sampler: ``uniform``, or ``rare`` for batches that all hold images of the rarest class.
        exclude: images left out of training: a list written by ``ens data check``, ``"suspects.csv"``, or some of its
            reasons, ``"suspects.csv:repeated-mask,almost-void"``.
        exclude_from_score: leave them out of the score too; such a member cannot be combined with others.
        epochs: passes over the training images; 30 where neither this nor a budget is given.
        budget: seconds, or a text such as ``"5m"``, turned once into a number of epochs.
        batch_size: images per optimiser step, of all processes together.
        lr: largest learning rate.
        weight_decay: of AdamW, on matrices only.
        seed: seed of weights, order and augmentation.
        folds: number of folds; a hold-out where left out.
        val_fraction: share of the images held out where there are no folds.
        split_seed: seed of the split.
        background: what class 0 is: ``void``, ``class`` or ``zero-weight``.
        image_size: size that images are resized to.
        keep: ``last`` or ``best`` epoch.
        tta: test-time augmentation: predict the mean over views of each image, ``flips`` (4) or ``d4`` (8). Where a
            finished member in ``out`` differs in this alone, its weights are taken over and only predictions are made.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: ``auto``, ``fp32`` or ``bf16``.
        deterministic: use only operations that give the same bits every time; a member of its own, since others may
            give other bits.
        out: folder for runs.
        tick: told the progress.
        on_plan: called with the resolved plan before training starts.

    Returns:
        The finished member.

    Raises:
        EnsError: any mistake in the arguments or the data, in one sentence; nothing was written then.
    """
    made = _plan(locals())
    if on_plan:
        on_plan(made)
    from ensemble.training.train import train_member  # noqa: PLC0415  (torch takes two seconds)

    return train_member(made, tick)


def plan(arguments: Mapping[str, Any], *, threads: int | None = None) -> Plan:
    """What ``train(**arguments)`` would train: everything is resolved and checked, nothing is written.

    Args:
        arguments: arguments of :func:`train` by name.
        threads: threads it would have; all that torch takes where None.

    Raises:
        EnsError: as :func:`train`.
    """
    from ensemble.training.hardware import torch_threads  # noqa: PLC0415  (torch takes two seconds)

    bound = inspect.signature(train).bind(**arguments)
    bound.apply_defaults()
    with torch_threads(threads) if threads else nullcontext():
        return _plan(bound.arguments)


def _plan(given: Mapping[str, Any]) -> Plan:
    """The plan of the arguments of ``train``."""
    if given["keep"] not in KEEPS:
        raise UnknownName("epoch to keep", given["keep"], KEEPS)
    check_tta(given["tta"])
    of_data = ("background", "image_size", "val_fraction", "folds", "split_seed")
    settings = data_settings(given["data"], **{name: given[name] for name in of_data})
    budget = given["budget"]
    from ensemble.training.plan import plan_member  # noqa: PLC0415  (torch takes two seconds)
    from ensemble.training.train import exactly  # noqa: PLC0415

    apart = {"data", "arch", "loss", "budget", "deterministic", "out", "on_plan", *of_data}
    made = plan_member(
        settings,
        given["arch"],
        given["loss"],
        **{name: value for name, value in given.items() if name not in apart},
        budget_seconds=parse_duration(budget) if isinstance(budget, str) else budget,
        out=Path(given["out"]),
    )
    return exactly(made) if given["deterministic"] else made


@dataclass(frozen=True)
class DataCheck:
    """What ``check_data`` found, where it is written, and the members that masks were held against."""

    dataset: Dataset
    suspects: list[Suspect]
    members: list[Member]
    table: Path
    picture: Path


def check_data(
    data: DataSettings | str | Path = "sample",
    *,
    out: str | Path = ".",
    members: Sequence[str | Path] | None = None,
    runs: str | Path = "runs",
    tick: Tick = silent,
) -> DataCheck:
    """Look for images that should not be trained on, and write ``suspects.csv`` and ``suspects.png`` into ``out``.

    Args:
        data: settings, an npz file, a folder, or ``sample``.
        out: folder for the list and the contact sheet.
        members: members whose predictions the masks are held against; all of these data in ``runs`` where None.
        runs: folder for runs.
        tick: told the progress.

    Raises:
        EnsError: data that cannot be read, members of other data, or an unwritable folder.
    """
    from ensemble.data import open_dataset  # noqa: PLC0415
    from ensemble.data.check import check_data as look  # noqa: PLC0415
    from ensemble.pool.contradicted import contradicted_masks  # noqa: PLC0415
    from ensemble.pool.ensembles import newest_members, open_members  # noqa: PLC0415
    from ensemble.report.suspects import draw_suspects, write_suspects  # noqa: PLC0415

    dataset = open_dataset(data if isinstance(data, DataSettings) else data_settings(data))
    chosen = open_members(Path(runs), members) if members else newest_members(Path(runs), dataset.data_hash)
    suspects = look(dataset, tick)
    if chosen:
        suspects += contradicted_masks(dataset, chosen, tick)
    done = DataCheck(dataset, suspects, chosen, Path(out) / "suspects.csv", Path(out) / "suspects.png")
    write_suspects(suspects, done.table)
    draw_suspects(dataset, suspects, done.picture)
    return done


def combine(
    members: Sequence[str | Path] = (),
    *,
    method: str = "learned",
    weights: str | Sequence[float] | None = None,
    options: Mapping[str, Any] | None = None,
    calibrate: Calibrate = "none",
    decide: Decide = "argmax",
    top: int | None = None,
    drop: Sequence[str | Path] = (),
    folds: int | None = None,
    runs: str | Path = "runs",
    tick: Tick = silent,
) -> Combination:
    """Combine members (all of the newest data set where none are named), judge the ensemble and save it.

    Args:
        members: members by name, unique beginning or path.
        method: a registered method; see ``ensemble.pool.COMBINERS``.
        weights: weights of the method ``weighted``, in the order of the members.
        options: options of the method by name.
        calibrate: temperatures fitted for the ``members``, for the ``pool``, for ``both``, or ``none``: the default,
            for a method is then what its name says, and a temperature after pooling makes the probabilities right
            without changing a class map.
        decide: ``argmax``, or ``offsets`` of the classes that maximise mIoU.
        top: keep this many members, the best by mIoU; the choice is cross-fitted like everything else.
        drop: members to leave out.
        folds: folds of the cross-fitted score.
        runs: folder for runs.
        tick: told the progress.

    Raises:
        EnsError: fewer than two members, members that do not fit together, weights that do not fit the members.
    """
    from ensemble.pool.ensembles import choose_members, combine_members  # noqa: PLC0415

    given = dict(options or {})
    if weights is not None:
        if method != "weighted":
            raise EnsError(f"--weights goes with --method weighted, got --method {method}; drop one of the two")
        if top is not None:
            raise EnsError("expected --weights or --top, got both; --top chooses members, --weights counts on them all")
        given["weights"] = _numbers(weights)
    chosen = choose_members(Path(runs), members, drop)
    return combine_members(
        chosen, method, given, calibrate=calibrate, decide=decide, top=top, runs=Path(runs), folds=folds, tick=tick
    )


def combine_all(
    members: Sequence[str | Path] = (),
    *,
    calibrate: Calibrate = "none",
    decide: Decide = "argmax",
    top: int | None = None,
    drop: Sequence[str | Path] = (),
    folds: int | None = None,
    runs: str | Path = "runs",
    tick: Tick = silent,
) -> pd.DataFrame:
    """Every method with every choice of its options, cross-fitted on the same folds: a row each; nothing is saved.

    The arguments are those of :func:`combine`; the columns are those of
    :func:`ensemble.pool.table.compare_methods`, scores as shares of 1.

    Raises:
        EnsError: fewer than two members, or members that do not fit together.
    """
    import pandas as pd  # noqa: PLC0415

    from ensemble.pool.ensembles import choose_members  # noqa: PLC0415
    from ensemble.pool.table import compare_methods  # noqa: PLC0415

    chosen = choose_members(Path(runs), members, drop)
    return pd.DataFrame(compare_methods(chosen, calibrate=calibrate, decide=decide, top=top, folds=folds, tick=tick))


def _numbers(weights: str | Sequence[float]) -> tuple[float, ...]:
    parts = weights.split(",") if isinstance(weights, str) else weights
    try:
        return tuple(float(part) for part in parts)
    except ValueError:
        raise EnsError(f"expected weights as numbers separated by commas, such as 2,1,1, got '{weights}'") from None


def find_model(model: str | Path, runs: str | Path = "runs") -> Path:
    """Directory of a member or ensemble given by path, name or unique beginning of its name.

    Raises:
        UnknownName: nothing, or more than one thing, is called that.
    """
    if (Path(model) / "status.json").is_file():
        return Path(model)
    found = {path.parent.name: path.parent for path in Path(runs).glob("*/*/status.json")}
    near = [name for name in found if name.startswith(str(model))]
    if str(model) in found:
        return found[str(model)]
    if len(near) != 1:
        raise UnknownName("member or ensemble", str(model), found)
    return found[near[0]]


def load(path: str | Path, device: str = "cpu", tta: str | None = None) -> Predictor:
    """Load a member or an ensemble: ``ensemble.load(PATH)(images) -> probabilities``.

    The arguments are those of :func:`ensemble.predict.load`.
    """
    from ensemble.predict import load as load_predictor  # noqa: PLC0415

    return load_predictor(path, device, tta)


def predict(
    model: str | Path,
    images: str | Path,
    out: str | Path,
    *,
    probabilities: bool = False,
    tta: str | None = None,
    device: str = "auto",
    runs: str | Path = "runs",
    tick: Tick = silent,
) -> int:
    """Write class maps of ``images`` to ``out`` (a folder of PNG, an npz or a csv) and return their number.

    Every member predicts with the test-time augmentation it was made with, or with ``tta`` where that is given.

    Raises:
        EnsError: nothing to predict with or on, an unknown form or ``tta``, or an unwritable place.
    """
    path = find_model(model, runs)
    if read_status(path).get("state") != "complete":
        raise EnsError(f"{path} is not finished; repeat its train command to resume it")
    from ensemble.mask_files import predict_to  # noqa: PLC0415
    from ensemble.predict import load as load_predictor  # noqa: PLC0415
    from ensemble.predict import open_images  # noqa: PLC0415
    from ensemble.training.hardware import choose_hardware  # noqa: PLC0415

    found = open_images(images)
    predictor = load_predictor(path, choose_hardware(device).device, tta)
    return predict_to(predictor, found, Path(out), probabilities=probabilities, tick=tick)

"""Make a row of the results table from the files of a member or ensemble directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from ensemble.config import DataFacts, MemberSettings, PoolSettings
from ensemble.core.errors import EnsError
from ensemble.core.files import read_object
from ensemble.core.foreground import foreground
from ensemble.core.settings import load_settings
from ensemble.core.units import size_name
from ensemble.evaluation.caveats import too_few_groups
from ensemble.results.class_scores import CLASS_SCORES, column_of
from ensemble.results.columns import COSTS, SCORES, typed
from ensemble.results.find_column import column
from ensemble.runs import layout
from ensemble.runs.evaluation_dir import EvaluationSettings
from ensemble.runs.layout import CONFIG, ENVIRONMENT
from ensemble.runs.status import advice, check_files, check_recorded, read_config, read_status

Row = dict[str, Any]

PARTS = "members"
"""Key under which an ensemble's row holds the names of its members; the table has no such column."""
USED = "used"
"""Key under which an ensemble's row holds the names of the members that predicting needs: those with a weight."""
MODEL = "model"
"""Key under which an evaluation's row holds the name of its model; the table has no such column."""
POSITIVE, DICE = "foreground", "dice_per_class"
"""Keys under which a row holds the name of its foreground class and the Dice of both classes, if there are two."""
TRAINING = "training"
"""Key under which a row of a member names its training; members that differ only in tta share one."""
HIDDEN = (PARTS, USED, MODEL, POSITIVE, DICE, TRAINING)
VALIDATION = "validation"
STUDENT = ("no", "yes", "saw test images")


def read_row(path: Path) -> Row | None:
    """Read the row of the run in ``path``; `join_members` adds what an ensemble takes from its members.

    Returns:
        Values by column, or None if the run is not finished.

    Raises:
        EnsError: the directory is damaged, or another version wrote it.
    """
    status = read_status(path)
    if status.get("state") != "complete":
        return None
    config = read_config(path, status)
    check_files(path, status, (layout.SCORES,))
    scores = read_object(path / layout.SCORES)
    if status.get("kind") == "ensemble":
        about = _ensemble(path, config, scores)
    elif status.get("kind") == "evaluation":
        about = _evaluation(path, config)
    else:
        about = _member(path, config, status)
    row: Row = {"name": path.name, "finished": status.get("finished"), "part": VALIDATION, **about, **_scores(scores)}
    row = {key: value if key in HIDDEN else _typed(path, key, value) for key, value in row.items()}
    return with_foreground(row, row.get(POSITIVE))


def with_foreground(row: Row, name: str | None) -> Row:
    """Return a row with IoU and Dice of its foreground class; None if it has no such class."""
    dice = row.pop(DICE, {})
    if name is None or len(dice) != 2:
        return row | {DICE: dice}
    iou = column_of(name)
    limits = {f"foreground_iou{end}": row.get(f"{iou}{end}") for end in ("", "_low", "_high")}
    return row | limits | {"foreground_dice": typed(dice.get(name), "float64")}


def _positive(classes: Sequence[str], values: Sequence[int]) -> str | None:
    place = foreground(values)
    return None if place is None else classes[place]


def join_members(row: Row, members: Mapping[str, Row]) -> Row:
    """Return an ensemble's row with the sums of its members' costs, and with the values they have in common.

    Members of weight zero took time to train, but predicting leaves them out, and so do the other sums. A training that
    several members share counts once. A sum is missing if a member is missing or does not know its cost.
    """
    parts = [members.get(name) for name in row[PARTS]]
    known = [part for part in parts if part is not None] if None not in parts else []
    used = [part for part in known if part["name"] in row[USED]]
    costs = {name: _total([part.get(name) for part in used]) for name in COSTS} | {"seconds": _seconds(known)}
    common = {name: _common([part.get(name) for part in known]) for name in ("git", "cpu", "device")}
    modes = {part.get("background") for part in known}
    selected = [part.get("selected") for part in known]
    taught = [STUDENT.index(str(part.get("student"))) for part in known]
    row = with_foreground(row, _common([part.get(POSITIVE) for part in known]) if known else None)
    return row | costs | common | {
        # Members with and members without a background class are combined on the classes without it.
        "background": (modes.pop() if len(modes) == 1 else "void") if modes else None,
        "selected": any(selected) if known else None,
        "student": STUDENT[max(taught)] if known else None,
    }  # fmt: skip


def _seconds(members: Sequence[Row]) -> Any:
    """Return the seconds of the trainings of members: of each, those of the member that took the longest."""
    each: dict[str, list[Any]] = {}
    for row in members:
        each.setdefault(row[TRAINING], []).append(row.get("seconds"))
    return _total([None if None in seconds else max(seconds) for seconds in each.values()])


def join_model(row: Row, models: Mapping[str, Row]) -> Row:
    """Return an evaluation's row with what the row of its model says about the model, if the model is there."""
    model = models.get(row[MODEL], {})
    return {name: model.get(name) for name in _OF_MODEL} | row


_OF_MODEL = (
    *("kind", "architecture", "encoder", "loss", "augmentation", "sampler", "optimiser", "tta", "crop"),
    *("input", "student", "decision", "seed", "folds", "epochs"),
    *(*COSTS, "git", "cpu", "device"),
)
"""Columns that an evaluation takes from its model."""


def _member(path: Path, config: Row, status: Row) -> Row:
    settings = load_settings(MemberSettings, config.get("settings"), path / CONFIG)
    facts = load_settings(DataFacts, config.get("data"), path / CONFIG)
    environment = read_object(path / ENVIRONMENT) if check_recorded(path, status, ENVIRONMENT) else {}
    recipe = settings.augmentation
    return {
        "kind": "member",
        "architecture": settings.architecture.name,
        "encoder": settings.architecture.options.get("encoder"),
        "loss": settings.loss.name,
        "augmentation": recipe if isinstance(recipe, str) else recipe.get("recipe"),
        "sampler": settings.sampler,
        "optimiser": settings.optimiser.name,
        "tta": settings.tta,
        "crop": "none" if settings.crop is None else size_name(settings.crop),
        "input": _input(settings),
        "student": STUDENT[0 if settings.taught is None else 1 + settings.taught.saw_test],
        "decision": "argmax",
        "background": facts.background,
        "seed": settings.seed,
        "folds": settings.data.folds,
        "epochs": settings.epochs,
        **{name: status.get("training_seconds" if name == "seconds" else name) for name in COSTS},
        "data": facts.name,
        POSITIVE: _positive(facts.classes, facts.values),
        TRAINING: path.name
        if settings.trained_elsewhere
        else settings.training_hash(facts.data_hash, facts.split_hash),
        "data_hash": facts.data_hash,
        "split_hash": facts.split_hash,
        "git": environment.get("revision"),
        "cpu": environment.get("cpu"),
        "device": settings.device if settings.device == "cpu" else environment.get("gpu") or settings.device,
    }


def _input(settings: MemberSettings) -> str:
    if settings.input_size is not None:
        return size_name(settings.input_size)
    return "native" if settings.input_scale == 1 else f"x{settings.input_scale:g}"


def _ensemble(path: Path, config: Row, scores: Row) -> Row:
    settings = load_settings(PoolSettings, config.get("settings"), path / CONFIG)
    return {
        "kind": "ensemble",
        "architecture": f"{settings.method} of {len(settings.members)}",
        "decision": settings.decision,
        "data": scores.get("data"),
        "data_hash": settings.data_hash,
        "split_hash": settings.split_hash,
        PARTS: list(settings.members),
        USED: config.get(USED, list(settings.members)),  # version 0.2 does not know
    }


def _evaluation(path: Path, config: Row) -> Row:
    settings = load_settings(EvaluationSettings, config.get("settings"), path / CONFIG)
    return {
        **({"decision": settings.decision} if settings.decision else {}),  # else that of the model
        **({"tta": settings.tta} if settings.tta else {}),
        "part": settings.part,
        "background": settings.background,
        "data": settings.data,
        "data_hash": settings.data_hash,
        "split_hash": settings.images_hash,
        MODEL: settings.model,
        POSITIVE: _positive(settings.classes, settings.values),
    }


def _scores(scores: Row) -> Row:
    """Return the scores with their limits; runs of older versions lack some of them."""
    names = [f"{name}{end}" for name in SCORES for end in ("", "_low", "_high")]
    row = {name: scores.get(name) for name in (*names, "images", "groups", "protocol", "selected", "deciding_group")}
    row[DICE] = _mapping(scores, DICE)
    ends = {"": _mapping(scores, "iou"), "_low": _mapping(scores, "iou_low"), "_high": _mapping(scores, "iou_high")}
    for name in ends[""]:
        row |= {column_of(name) + end: values.get(name) for end, values in ends.items()}
    for score in CLASS_SCORES:
        ends = {end: _mapping(scores, f"{score}_per_class{end}") for end in ("", "_low", "_high")}
        for name in ends[""]:
            row |= {column_of(name, score) + end: values[name] for end, values in ends.items() if name in values}
    if type(row["groups"]) is int and too_few_groups(row["groups"]):  # older versions stored limits nevertheless
        row |= dict.fromkeys(name for name in row if name.endswith(("_low", "_high")))
    return row


def _typed(path: Path, key: str, value: Any) -> Any:
    try:
        return typed(value, column(key).dtype)
    except EnsError as error:
        raise EnsError(f"{path} is damaged ({key}: {error}); {advice(path)}") from None


def _mapping(content: Row, key: str) -> Row:
    value = content.get(key)
    return cast(Row, value) if isinstance(value, dict) else {}


def _total(values: Sequence[Any]) -> Any:
    return None if None in values or not values else sum(values)


def _common(values: Sequence[Any]) -> Any:
    return values[0] if len(set(values)) == 1 else None

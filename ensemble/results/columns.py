"""Define the columns of the results table: names, types, headings, and whether high or low is better."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from ensemble.core.errors import EnsError

Better = Literal["high", "low", ""]
Unit = Literal["text", "flag", "count", "share", "nats", "millions", "time", "gflops", "ms"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the table.

    Attributes:
        dtype: its pandas type.
        title: its heading in printed tables.
        about: its content, with the unit.
        unit: the unit that decides how its values are printed.
        better: whether a high or a low value is better; empty if neither is.
        usual: default value; a column that contains only this value is hidden unless asked for.
    """

    dtype: str
    title: str
    about: str
    unit: Unit = "text"
    better: Better = ""
    usual: str = ""


def _text(title: str, about: str, usual: str = "") -> Column:
    return Column(dtype="string", title=title, about=about, usual=usual)


def _count(title: str, about: str, unit: Unit = "count", better: Better = "") -> Column:
    return Column(dtype="Int64", title=title, about=about, unit=unit, better=better)


def _cost(title: str, about: str, unit: Unit) -> Column:
    return Column(dtype="float64", title=title, about=about, unit=unit, better="low")


def score_columns(
    name: str, title: str, about: str, unit: Unit = "share", better: Better = "high"
) -> dict[str, Column]:
    """Return the columns of a score and of the limits of its 95 % interval (over groups of images)."""
    limits = {
        f"{name}_{side}": Column(dtype="float64", title=f"{title} {side}", about=f"{side} limit of {name}", unit=unit)
        for side in ("low", "high")
    }
    return {name: Column(dtype="float64", title=title, about=about, unit=unit, better=better)} | limits


_RUN = {
    "name": _text("name", "name of the run's directory"),
    "kind": _text("kind", "member or ensemble"),
    "architecture": _text("architecture", "architecture of a member; method and size of an ensemble"),
    "encoder": _text("encoder", "encoder, if the architecture has one"),
    "loss": _text("loss", "loss of a member"),
    "augmentation": _text("augment", "augmentation of a member"),
    "sampler": _text("sampler", "sampler of a member", usual="uniform"),
    "optimiser": _text("optimiser", "optimiser of a member: adamw or muon"),
    "tta": _text("tta", "test-time augmentation of a member: none, hflip, vflip, flips or d4", usual="none"),
    "crop": _text("crop", "windows a member was trained on, such as 256x256", usual="none"),
    "input": _text("input", "what its network sees: native pixels, a factor such as x2, or a size", usual="native"),
    "student": _text("student", "whether a member learned from an ensemble: no, yes, or saw test images", usual="no"),
    "decision": _text("decision", "how classes are decided: argmax, offsets, expected-iou or -dice", usual="argmax"),
    "background": _text("background", "treatment of class 0 of the data: void, class or zero-weight"),
    "seed": _count("seed", "seed of a member"),
    "folds": _count("folds", "folds of a member; missing for a hold-out"),
    "epochs": _count("epochs", "epochs a member was trained"),
    "parameters": _count("params M", "parameters; for an ensemble of its members with a weight", "millions", "low"),
    "gflops": _cost("GFLOPs", "10^9 operations to predict an image, in all views; summed as parameters", "gflops"),
    "seconds": _cost("time", "seconds of training; for an ensemble of all its members, each training once", "time"),
    "latency_ms": _cost("ms", "median milliseconds per image when predicting; summed as parameters", "ms"),
}
_MIOU = {
    **score_columns("miou", "mIoU %", "mean IoU over the classes that occur, 0 to 1"),
    **score_columns("miou_keras", "Keras", "mean IoU as keras.metrics.MeanIoU computes it, 0 to 1"),
}
_OTHERS = {
    **score_columns("dice", "Dice %", "mean Dice over the classes that occur, 0 to 1"),
    **score_columns(
        "foreground_iou", "foreground IoU %", "IoU of the class that is not the background, if there are two"
    ),
    "foreground_dice": Column(
        dtype="float64",
        title="foreground Dice %",
        about="Dice of the class that is not the background, if there are two",
        unit="share",
        better="high",
    ),
    **score_columns("pixel_accuracy", "pixels %", "share of labelled pixels that are classified correctly"),
    **score_columns("boundary_f1", "BF1 %", "F1 of the class boundaries, 0 to 1"),
    **score_columns("log_loss", "log-loss", "mean log-loss of the labelled pixels, in nats", "nats", "low"),
    **score_columns("brier", "Brier", "Brier score, 0 to 2", "nats", "low"),
    **score_columns("ece", "ECE %", "expected calibration error, 0 to 1", "share", "low"),
}
_MORE = {
    **score_columns("image_miou", "image mIoU %", "mean over the images of their mean IoU, 0 to 1"),
    "miou_without_rare": Column(
        dtype="float64",
        title="without rare %",
        about="mean IoU without the classes that fewer than 20 groups hold, if there are any",
        unit="share",
        better="high",
    ),
    "miou_without_group": Column(
        dtype="float64",
        title="without one group %",
        about="mean IoU without the group that decides it alone, if one does",
        unit="share",
        better="high",
    ),
    "deciding_group": _text("deciding group", "group of images that decides the mean IoU alone, if one does"),
    **score_columns(
        "object_recall", "objects found %", "share of the true objects that are found, mean over the classes"
    ),
    **score_columns("object_f1", "object F1 %", "F1 of the objects, mean over the classes"),
}
_ORIGIN = {
    "images": _count("images", "images the scores are computed on"),
    "groups": _count("groups", "groups of these images, which the bootstrap of the intervals resamples"),
    "protocol": _text(
        "protocol",
        "hold-out, out-of-fold, cross-fitted, in-sample, test, vault with its look; of its twin (`ens refit`)",
    ),
    "part": _text("part", "what the scored images are: validation; test or vault (`ens evaluate`)", usual="validation"),
    "selected": Column(
        dtype="boolean",
        title="picked",
        about="whether the epoch was selected on the scored images",
        unit="flag",
    ),
    "data": _text("data", "file or folder name of the data"),
    "data_hash": _text("data hash", "digest of the data"),
    "split_hash": _text("split hash", "digest of the split"),
    "git": _text("git", "git revision of the toolkit at training"),
    "cpu": _text("cpu", "processor used for training"),
    "device": _text("device", "cpu, or the GPU used for training"),
    "finished": _text("finished", "time at which the run was finished, ISO 8601 in UTC"),
    "path": _text("path", "directory of the run"),
}
COLUMNS: dict[str, Column] = _RUN | _MIOU | _OTHERS | _MORE | _ORIGIN
"""All columns in order, except those of the classes: ``iou_<class>`` with its limits, after ``miou_keras_high``, and
other scores of classes after ``object_f1_high``; see `ensemble.results.class_scores`."""

SET, N, PARETO = "set", "n", "pareto"
_MADE = {
    SET: _text("data set, split", "label of the rows that can be compared with each other: see `sets_of`"),
    N: _count("n", "number of runs in a mean"),
    PARETO: Column(dtype="boolean", title="pareto", about="whether no run of at most this cost is better", unit="flag"),
}
"""Columns that grouping and ``--pareto`` add."""

KNOWN = COLUMNS | _MADE
"""All columns but those of classes and deviations."""

COSTS = ("seconds", "parameters", "gflops", "latency_ms")
ENDS = ("_low", "_high", "_sd")
"""Endings after the name of a score: the limits of its interval and the deviation of a mean."""

FOREGROUND = ("foreground_iou", "foreground_dice")
"""Scores of two classes, one of which is the background; they repeat those of a class."""

SCORES = tuple(
    name
    for name, known in (_MIOU | _OTHERS | _MORE).items()
    if known.dtype == "float64" and name not in FOREGROUND and not name.endswith(("_low", "_high"))
)


def typed(value: Any, dtype: str) -> Any:
    """Convert a value from a file to its column's type; None stays None.

    Raises:
        EnsError: the value has another type, or the column cannot hold it.

    >>> typed(3, "float64"), typed(3.0, "Int64"), typed(None, "string")
    (3.0, 3, None)
    """
    if value is None or (type(value) is _KINDS.get(dtype)):
        return value
    number = type(value) in (int, float) and dtype not in _KINDS
    if number and dtype == "float64" and abs(value) != math.inf:
        return float(value)
    if number and abs(value) < 2**63 and value == int(value):
        return int(value)
    raise EnsError(f"expected {dtype}, got {value!r}")


_KINDS: dict[str, type] = {"string": str, "boolean": bool}

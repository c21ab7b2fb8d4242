"""The columns of the results table: their names and types, which way is better, and how people read them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from ensemble.core.errors import EnsError, UnknownName

Better = Literal["high", "low", ""]
Unit = Literal["text", "flag", "count", "share", "nats", "millions", "time", "gflops", "ms"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the table.

    Attributes:
        dtype: its pandas type.
        title: its heading where people read it.
        about: what it holds, with its unit.
        unit: how its values are written.
        better: whether a high or a low value is the better one, if any.
        usual: the value that is not worth a mention; a column of nothing else is not shown unless asked for.
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


def _score(name: str, title: str, about: str, unit: Unit = "share", better: Better = "high") -> dict[str, Column]:
    """A score and the limits of its 95 % interval (over groups of images)."""
    limits = {
        f"{name}_{side}": Column(dtype="float64", title=f"{title} {side}", about=f"{side} limit of {name}", unit=unit)
        for side in ("low", "high")
    }
    return {name: Column(dtype="float64", title=title, about=about, unit=unit, better=better)} | limits


_RUN = {
    "name": _text("name", "name of the run's directory"),
    "kind": _text("kind", "member or ensemble"),
    "architecture": _text("architecture", "architecture of a member; method and size of an ensemble"),
    "encoder": _text("encoder", "encoder, where the architecture takes one"),
    "loss": _text("loss", "loss of a member"),
    "augmentation": _text("augment", "augmentation of a member"),
    "sampler": _text("sampler", "sampler of a member", usual="uniform"),
    "tta": _text("tta", "test-time augmentation of a member: none, flips or d4", usual="none"),
    "background": _text("background", "what class 0 of the data is: void, class or zero-weight"),
    "seed": _count("seed", "seed of a member"),
    "folds": _count("folds", "folds of a member; missing for a hold-out"),
    "epochs": _count("epochs", "epochs a member was trained"),
    "parameters": _count("params M", "parameters; of an ensemble the sum over its members", "millions", "low"),
    "gflops": _cost("GFLOPs", "10^9 operations to predict an image, in all views; an ensemble's are the sum", "gflops"),
    "seconds": _cost("time", "seconds of training; an ensemble's are the sum", "time"),
    "latency_ms": _cost("ms", "median milliseconds per image when predicting; an ensemble's are the sum", "ms"),
}
_MIOU = {
    **_score("miou", "mIoU %", "mean IoU over the classes that occur, 0 to 1"),
    **_score("miou_keras", "Keras", "the same as keras.metrics.MeanIoU reads it, 0 to 1"),
}
_OTHERS = {
    **_score("dice", "Dice %", "mean Dice over the classes that occur, 0 to 1"),
    **_score("pixel_accuracy", "pixels %", "share of labelled pixels that are right"),
    **_score("boundary_f1", "BF1 %", "F1 of the class boundaries, 0 to 1"),
    **_score("log_loss", "log-loss", "mean log-loss of the labelled pixels, in nats", "nats", "low"),
    **_score("brier", "Brier", "Brier score, 0 to 2", "nats", "low"),
    **_score("ece", "ECE %", "expected calibration error, 0 to 1", "share", "low"),
}
_ORIGIN = {
    "images": _count("images", "images the scores are computed on"),
    "groups": _count("groups", "groups of these images, which the intervals are drawn from"),
    "protocol": _text("protocol", "hold-out, out-of-fold or cross-fitted"),
    "selected": Column(
        dtype="boolean", title="picked", about="whether the epoch was picked on the images that are scored", unit="flag"
    ),
    "data": _text("data", "file or folder name of the data"),
    "data_hash": _text("data hash", "digest of the data"),
    "split_hash": _text("split hash", "digest of the split"),
    "git": _text("git", "revision the member was trained with"),
    "cpu": _text("cpu", "processor it was trained on"),
    "device": _text("device", "cpu, or the GPU it was trained on"),
    "finished": _text("finished", "when it was finished, ISO 8601 in UTC"),
    "path": _text("path", "directory of the run"),
}
COLUMNS: dict[str, Column] = _RUN | _MIOU | _OTHERS | _ORIGIN
"""All columns in their order, but those of the classes: ``iou_<class>`` with its limits, behind ``miou_keras_high``."""

SET, N, PARETO = "set", "n", "pareto"
_MADE = {
    SET: _text("data set, split", "which rows can be compared: see `sets_of`"),
    N: _count("n", "runs behind a mean"),
    PARETO: Column(dtype="boolean", title="pareto", about="whether nothing that costs no more is better", unit="flag"),
}
"""Columns that grouping and ``--pareto`` add."""

COSTS = ("seconds", "parameters", "gflops", "latency_ms")
_KNOWN = COLUMNS | _MADE
ALIASES = {"arch": "architecture", "augment": "augmentation"}
ENDS = ("_low", "_high", "_sd")
"""What follows the name of a score: the limits of its interval, and the deviation of a mean; no class ends so."""

SCORES = tuple(name for name in (*_MIOU, *_OTHERS) if not name.endswith(("_low", "_high")))


def column_of(class_name: str) -> str:
    """Column of a class's IoU: ``big rock`` becomes ``iou_big_rock``."""
    name = "iou_" + (re.sub(r"\W+", "_", class_name.lower()).strip("_") or "unnamed")
    return f"{name}_" if name.endswith(ENDS) else name


def class_columns(names: Iterable[object]) -> list[str]:
    """Those of ``names`` that hold the IoU of a class, without its limits and deviations."""
    return [str(name) for name in names if str(name).startswith("iou_") and not str(name).endswith(ENDS)]


def column(name: str) -> Column:
    """What a column of the table is, also one of a class, or one that was made from the table."""
    if name in _KNOWN:
        return _KNOWN[name]
    if name.startswith("iou_") and not name.endswith("_sd"):
        score = re.sub(r"(_low|_high)$", "", name)
        title = score.removeprefix("iou_").replace("_", " ").strip()
        title = f"IoU {title}" if title in {known.title for known in _KNOWN.values()} else title
        return _score(score, title, f"IoU of the class '{title}', 0 to 1")[name]
    return Column(dtype="float64" if name.endswith("_sd") else "string", title=name, about="")


def order(names: Iterable[str]) -> list[str]:
    """The columns of a table that has the classes' columns ``names``, in their order."""
    after = list(COLUMNS).index("miou_keras_high") + 1
    return [*list(COLUMNS)[:after], *names, *list(COLUMNS)[after:]]


def resolve(name: str, known: Iterable[object]) -> str:
    """The column that ``name`` means: a column, ``arch`` or ``augment``, or the name of a class.

    Raises:
        UnknownName: none of them, with a suggestion.

    >>> resolve("big rock", ["miou", "iou_big_rock"])
    'iou_big_rock'
    """
    columns = [str(column) for column in known]
    for candidate in (name.strip(), ALIASES.get(name.strip(), ""), column_of(name)):
        if candidate in columns:
            return candidate
    raise UnknownName("column", name, without_limits(columns))


def without_limits(names: Iterable[object]) -> list[str]:
    """The columns without limits and deviations: a list that a person can read."""
    return [str(name) for name in names if not str(name).endswith(ENDS)]


def typed(value: Any, dtype: str) -> Any:
    """A value from a file as its column's type; None stays None.

    Raises:
        EnsError: it is of another type, or a number that no such column can hold.

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

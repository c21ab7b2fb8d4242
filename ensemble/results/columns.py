"""Define the columns of the results table: names, types, whether high or low is better, and headings."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal
from unicodedata import normalize

from ensemble.core.errors import EnsError, UnknownName

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


def _score(name: str, title: str, about: str, unit: Unit = "share", better: Better = "high") -> dict[str, Column]:
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
    "tta": _text("tta", "test-time augmentation of a member: none, hflip, vflip, flips or d4", usual="none"),
    "snapshot": _text("snapshot", "cycle a member is taken from, such as 2 of 4; none without cycles", usual="none"),
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
    **_score("miou", "mIoU %", "mean IoU over the classes that occur, 0 to 1"),
    **_score("miou_keras", "Keras", "mean IoU as keras.metrics.MeanIoU computes it, 0 to 1"),
}
_OTHERS = {
    **_score("dice", "Dice %", "mean Dice over the classes that occur, 0 to 1"),
    **_score("foreground_iou", "foreground IoU %", "IoU of the class that is not the background, if there are two"),
    "foreground_dice": Column(
        dtype="float64",
        title="foreground Dice %",
        about="Dice of the class that is not the background, if there are two",
        unit="share",
        better="high",
    ),
    **_score("pixel_accuracy", "pixels %", "share of labelled pixels that are classified correctly"),
    **_score("boundary_f1", "BF1 %", "F1 of the class boundaries, 0 to 1"),
    **_score("log_loss", "log-loss", "mean log-loss of the labelled pixels, in nats", "nats", "low"),
    **_score("brier", "Brier", "Brier score, 0 to 2", "nats", "low"),
    **_score("ece", "ECE %", "expected calibration error, 0 to 1", "share", "low"),
}
_MORE = {
    **_score("image_miou", "image mIoU %", "mean over the images of their mean IoU, 0 to 1"),
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
    **_score("object_recall", "objects found %", "share of the true objects that are found, mean over the classes"),
    **_score("object_f1", "object F1 %", "F1 of the objects, mean over the classes"),
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
`CLASS_SCORES` after ``object_f1_high``."""

SET, N, PARETO = "set", "n", "pareto"
_MADE = {
    SET: _text("data set, split", "label of the rows that can be compared with each other: see `sets_of`"),
    N: _count("n", "number of runs in a mean"),
    PARETO: Column(dtype="boolean", title="pareto", about="whether no run of at most this cost is better", unit="flag"),
}
"""Columns that grouping and ``--pareto`` add."""

COSTS = ("seconds", "parameters", "gflops", "latency_ms")
_KNOWN = COLUMNS | _MADE
ALIASES = {"arch": "architecture", "augment": "augmentation"}
ENDS = ("_low", "_high", "_sd")
"""Endings after the name of a score: the limits of its interval and the deviation of a mean."""

FOREGROUND = ("foreground_iou", "foreground_dice")
"""Scores of two classes, one of which is the background; they repeat those of a class."""

SCORES = tuple(
    name
    for name, known in (_MIOU | _OTHERS | _MORE).items()
    if known.dtype == "float64" and name not in FOREGROUND and not name.endswith(("_low", "_high"))
)

CLASS_SCORES: dict[str, tuple[str, str, Better]] = {
    "object_recall": ("objects found %", "share of the true objects that are found", "high"),
    "object_precision": ("objects right %", "share of the predicted objects that are right", "high"),
    "object_f1": ("object F1 %", "F1 of the objects", "high"),
    "ece": ("ECE %", "calibration error of the pixels that are taken for it", "low"),
    "brier": ("Brier", "part of the Brier score", "low"),
}
"""Scores of each class besides its IoU, with heading and content: columns ``<score>_<class>``, shown when asked for."""


@cache
def column_of(class_name: str, score: str = "iou") -> str:
    """Return the column of a class's IoU: ``big rock`` becomes ``iou_big_rock``; `class_of` is its inverse.

    Another score is one of `CLASS_SCORES`.

    Different names give different columns, and a column is a word that ``--where`` understands: letters and digits
    stay, a space between them becomes ``_``, an underscore ``__``, and another character its code in ``___``.

    >>> column_of("big_rock"), column_of("a+")
    ('iou_big__rock', 'iou_a___2b___')
    """
    is_word = [False, *map(_is_word, class_name), False]
    name = f"{score}_"
    for place, c in enumerate(class_name, 1):
        between = is_word[place - 1] and is_word[place + 1]
        name += c if is_word[place] else _JOINTS[c] if between and c in _JOINTS else f"___{ord(c):x}___"
    return f"{name}_" if name.endswith(ENDS) else name


_JOINTS = {" ": "_", "_": "__"}


def _is_word(c: str) -> bool:
    """Return whether a character may stand in a column: Python reads others, such as a high 2, as something else."""
    return c.isalnum() and normalize("NFKC", c) == c and f"a{c}".isidentifier()


def class_of(column_name: str) -> str:
    """Return the class whose IoU a column holds, as the data write it.

    >>> class_of("iou_big__rock"), class_of("iou_a___2b___"), class_of("iou_too_low_")
    ('big_rock', 'a+', 'too low')
    """
    name = column_name.removeprefix("iou_")
    if f"iou_{name}".endswith(tuple(f"{end}_" for end in ENDS)):
        name = name[:-1]
    return re.sub("___([0-9a-f]+)___|__|_", lambda found: _character(found[0], found[1]), name)


def _character(text: str, code: str | None) -> str:
    return chr(int(code, 16)) if code else "_" if text == "__" else " "


def class_score_columns(names: Iterable[object]) -> list[str]:
    """Return the columns among ``names`` that hold another score of a class, without limits and deviations."""
    return [str(name) for name in names if _class_score(str(name)) and not str(name).endswith(ENDS)]


def _class_score(name: str) -> str:
    """Return which of `CLASS_SCORES` a column holds; empty if it holds none."""
    found = [score for score in CLASS_SCORES if name.startswith(f"{score}_")]
    return "" if name in _KNOWN or not found else found[0]


def class_columns(names: Iterable[object]) -> list[str]:
    """Return the columns among ``names`` that hold the IoU of a class, without limits and deviations."""
    return [str(name) for name in names if str(name).startswith("iou_") and not str(name).endswith(ENDS)]


@cache
def column(name: str) -> Column:
    """Return the definition of a column, including columns of classes and columns that grouping adds."""
    if name in _KNOWN:
        return _KNOWN[name]
    if name.startswith("iou_") and not name.endswith("_sd"):
        score = re.sub(r"(_low|_high)$", "", name)
        title = of_class = class_of(score)
        title = f"IoU {title}" if title in {known.title for known in _KNOWN.values()} else title
        return _score(score, title, f"IoU of the class '{of_class}', 0 to 1")[name]
    if (kind := _class_score(name)) and not name.endswith("_sd"):
        title, about, better = CLASS_SCORES[kind]
        score = re.sub(r"(_low|_high)$", "", name)
        of_class = class_of(f"iou_{score.removeprefix(f'{kind}_')}")
        unit: Unit = "nats" if kind == "brier" else "share"
        return _score(score, f"{of_class} {title}", f"{about}, of the class '{of_class}'", unit, better)[name]
    return Column(dtype="float64" if name.endswith("_sd") else "string", title=name, about="")


def order(names: Iterable[str], others: Iterable[str] = ()) -> list[str]:
    """Return all columns of a table in order; ``names`` are the IoU of its classes, ``others`` their other scores."""
    known = list(COLUMNS)
    first, second = (known.index(name) + 1 for name in ("miou_keras_high", "object_f1_high"))
    return [*known[:first], *names, *known[first:second], *others, *known[second:]]


def resolve(name: str, known: Iterable[object]) -> str:
    """Return the column with this name; ``arch``, ``augment`` and names of classes are understood, too.

    Raises:
        UnknownName: the table has no such column; the text suggests one.

    >>> resolve("big rock", ["miou", "iou_big_rock"])
    'iou_big_rock'
    """
    columns = [str(column) for column in known]
    for candidate in (name.strip(), ALIASES.get(name.strip(), ""), column_of(name), column_of(name.strip())):
        if candidate in columns:
            return candidate
    letters = _letters(name.strip().removeprefix("iou_"))
    alike = [column for column in class_columns(columns) if _letters(class_of(column)) == letters]
    if letters and len(alike) == 1:
        return alike[0]
    raise UnknownName("column", name, without_limits(columns), listing="`ens results --format csv`")


def _letters(name: str) -> str:
    """Return the letters and digits of a name, all small."""
    return re.sub(r"[\W_]", "", name).casefold()


def without_limits(names: Iterable[object]) -> list[str]:
    """Return the columns without limits and deviations, which make a list too long to read."""
    return [str(name) for name in names if not str(name).endswith(ENDS)]


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

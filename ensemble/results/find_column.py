"""Find columns: the definition that belongs to a name, the order of a table, and what users call them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import cache

from ensemble.core.errors import UnknownName
from ensemble.core.formatting import iou_title
from ensemble.results.class_scores import CLASS_SCORES, class_columns, class_of, class_score, column_of
from ensemble.results.columns import COLUMNS, ENDS, KNOWN, Column, Unit, score_columns

ALIASES = {"arch": "architecture", "augment": "augmentation"}


@cache
def column(name: str) -> Column:
    """Return the definition of a column, including columns of classes and columns that grouping adds."""
    if name in KNOWN:
        return KNOWN[name]
    if name.endswith("_sd"):
        mean = column(name.removesuffix("_sd"))
        about = f"sample standard deviation of {name.removesuffix('_sd')}"
        return replace(mean, dtype="float64", title=f"{mean.title} sd", about=about, better="", usual="")
    if name.startswith("iou_"):
        score = re.sub(r"(_low|_high)$", "", name)
        of_class = class_of(score)
        title = iou_title(of_class, {known.title.removesuffix(end) for known in KNOWN.values() for end in ("", " %")})
        return score_columns(score, title, f"IoU of the class '{of_class}', 0 to 1")[name]
    if kind := class_score(name):
        title, about, better = CLASS_SCORES[kind]
        score = re.sub(r"(_low|_high)$", "", name)
        of_class = class_of(score, kind)
        unit: Unit = "nats" if kind == "brier" else "share"
        return score_columns(score, f"{of_class} {title}", f"{about}, of the class '{of_class}'", unit, better)[name]
    return Column(dtype="string", title=name, about="")


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

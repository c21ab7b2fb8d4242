"""Name the columns that hold scores of one class, and read the class from the name of its column."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from unicodedata import normalize

from ensemble.results.columns import ENDS, KNOWN, Better

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
    """Return the column of a class's IoU, or of another score of it: ``big rock`` becomes ``iou_big_rock``.

    Different names give different columns, and a column is a word that ``--where`` understands: letters and digits
    stay, a space between them becomes ``_``, an underscore ``__``, and another character its code in ``___``.
    `class_of` is the inverse.

    Args:
        class_name: the class, as the data write it.
        score: ``iou``, or one of `CLASS_SCORES`.

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


def class_of(column_name: str, score: str = "iou") -> str:
    """Return the class whose score a column holds, as the data write it; the inverse of `column_of`.

    >>> class_of("iou_big__rock"), class_of("iou_a___2b___"), class_of("iou_too_low_"), class_of("ece_soil", "ece")
    ('big_rock', 'a+', 'too low', 'soil')
    """
    name = column_name.removeprefix(f"{score}_")
    if column_name.endswith(tuple(f"{end}_" for end in ENDS)):
        name = name[:-1]
    return re.sub("___([0-9a-f]+)___|__|_", lambda found: _character(found[0], found[1]), name)


def _character(text: str, code: str | None) -> str:
    return chr(int(code, 16)) if code else "_" if text == "__" else " "


def class_columns(names: Iterable[object]) -> list[str]:
    """Return the columns among ``names`` that hold the IoU of a class, without limits and deviations."""
    return [str(name) for name in names if str(name).startswith("iou_") and not str(name).endswith(ENDS)]


def class_score_columns(names: Iterable[object]) -> list[str]:
    """Return the columns among ``names`` that hold another score of a class, without limits and deviations."""
    return [str(name) for name in names if class_score(str(name)) and not str(name).endswith(ENDS)]


def class_score(name: str) -> str:
    """Return which of `CLASS_SCORES` a column holds; empty if it holds none."""
    found = [score for score in CLASS_SCORES if name.startswith(f"{score}_")]
    return "" if name in KNOWN or not found else found[0]

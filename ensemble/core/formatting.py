"""Write numbers as people read them: durations, sizes and shares."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from typing import Any


def duration(seconds: float) -> str:
    """Return a length of time in seconds, minutes or hours.

    >>> duration(42.4), duration(600), duration(9000)
    ('42 s', '10.0 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def counted(number: int, what: str) -> str:
    """Return a number with its noun, in the plural unless it is 1.

    >>> counted(1, "ensemble"), counted(0, "ensemble"), counted(2615, "image")
    ('1 ensemble', '0 ensembles', '2,615 images')
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def gigabytes(size: float) -> str:
    """Return a size in bytes as gigabytes with three digits, and all digits of larger ones.

    >>> gigabytes(1.234e9), gigabytes(2.4512e12), gigabytes(3e5)
    ('1.23 GB', '2,451 GB', '0.0003 GB')
    """
    number = size / 1e9
    return f"{number:,.0f} GB" if number >= 1000 else f"{number:.3g} GB"


def percent(share: float | None) -> str:
    """Return a share in per cent with one decimal, without the sign; ``-`` stands for a missing value.

    >>> percent(0.7046), percent(None), percent(float("nan"))
    ('70.5', '-', '-')
    """
    return "-" if share is None or math.isnan(share) else f"{100 * share:.1f}"


def in_percent(share: Any, digits: int = 1) -> str:
    """Return a share in per cent as part of a sentence, with the sign; ``none`` stands for NaN.

    >>> in_percent(0.7046), in_percent(0.7046, 0), in_percent(float("nan"))
    ('70.5 %', '70 %', 'none')
    """
    number = float(share)  # also one of NumPy or pandas
    return "none" if math.isnan(number) else f"{100 * number:.{digits}f} %"


def iou_title(class_name: str, taken: Collection[str]) -> str:
    """Return the heading of the IoU of a class: its name, with ``IoU`` in front while ``taken`` holds it.

    >>> iou_title("soil", ["mIoU"]), iou_title("mIoU", ["mIoU"])
    ('soil', 'IoU mIoU')
    """
    return iou_title(f"IoU {class_name}", taken) if class_name in taken else class_name


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """Return a text that may come from a file with every control character as its escape; tabs and ends of line stay.

    Without it the name of a class could move the cursor, colour the terminal, or turn the direction of writing.

    >>> print(visible("rock\\x1b[31m"))
    rock\\x1b[31m
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)

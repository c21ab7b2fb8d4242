"""Write numbers as people read them: durations and shares."""

from __future__ import annotations

import math
from typing import Any


def duration(seconds: float) -> str:
    """Return a length of time in seconds, minutes or hours.

    >>> duration(42.4), duration(600), duration(9000)
    ('42 s', '10.0 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


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

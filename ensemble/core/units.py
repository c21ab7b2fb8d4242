"""Durations and image sizes as text."""

from __future__ import annotations

import re

from ensemble.core.errors import EnsError

_DURATION = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>s|m|h)?", re.IGNORECASE)


def parse_duration(text: str) -> float:
    """Return the seconds in ``90``, ``90s``, ``5m`` or ``1.5h``.

    >>> parse_duration("5m")
    300.0
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or float(match["number"]) <= 0:
        raise EnsError(f"expected a duration such as 90s, 5m or 1.5h, got '{text}'")
    return float(match["number"]) * {"s": 1, "m": 60, "h": 3600}[(match["unit"] or "s").lower()]


def size_name(size: tuple[int, int]) -> str:
    """Return height and width as text.

    >>> size_name((64, 128))
    '64x128'
    """
    return f"{size[0]}x{size[1]}"


def parse_size(text: str) -> tuple[int, int]:
    """Return height and width in ``64x128``.

    >>> parse_size("64x128")
    (64, 128)
    """
    match = re.fullmatch(r"(\d+)\s*[xX]\s*(\d+)", text.strip())
    if match is None or min(int(match[1]), int(match[2])) < 32:
        raise EnsError(f"expected HEIGHTxWIDTH of at least 32x32, such as 64x128, got '{text}'")
    return int(match[1]), int(match[2])

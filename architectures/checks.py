"""Checks of an architecture's options: each answers with the option's name, what was expected and what came."""

from __future__ import annotations

from ensemble.core.errors import EnsError


def check_whole(option: str, value: object, low: int, high: int | None = None) -> None:
    """Raise unless ``value`` is a whole number of ``low`` to ``high`` (no upper end when None).

    Raises:
        EnsError: naming the option, its range and the value.
    """
    # bool is an int in Python, yet `filters=True` is a mistake.
    if not isinstance(value, int) or isinstance(value, bool) or value < low or (high is not None and value > high):
        span = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise EnsError(f"expected {option} to be a whole number {span}, got {value!r}; change {option}")


def check_rate(option: str, value: object) -> None:
    """Raise unless ``value`` is a number in [0, 1).

    Raises:
        EnsError: naming the option and the value; NaN is refused too.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1:
        raise EnsError(f"expected {option} to be a number in [0, 1), got {value!r}; change {option} (0 is off)")


def check_channels(in_channels: object, classes: object) -> None:
    """Raise unless there is an input channel and at least two classes.

    Raises:
        EnsError: naming the number that is too small.
    """
    check_whole("in_channels", in_channels, 1)
    check_whole("classes", classes, 2)

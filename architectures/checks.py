"""Check the options of an architecture; every error names the option, what was expected and what came."""

from __future__ import annotations

from ensemble.core.errors import EnsError


def check_whole(option: str, value: object, low: int, high: int | None = None) -> None:
    """Raise an error unless ``value`` is a whole number from ``low`` to ``high``.

    Args:
        option: name of the option, for the message.
        value: what the user gave.
        low: smallest allowed number.
        high: largest allowed number; None means no upper limit.

    Raises:
        EnsError: when the value is outside; the message names the option, its range and the value.
    """
    # bool is an int in Python, yet `filters=True` is a mistake.
    if not isinstance(value, int) or isinstance(value, bool) or value < low or (high is not None and value > high):
        span = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise EnsError(f"expected {option} to be a whole number {span}, got {value!r}; change {option}")


def check_rate(option: str, value: object) -> None:
    """Raise an error unless ``value`` is a number in [0, 1).

    Raises:
        EnsError: when the value is outside, or NaN; the message names the option and the value.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1:
        raise EnsError(f"expected {option} to be a number in [0, 1), got {value!r}; change {option} (0 is off)")


def check_channels(in_channels: object, classes: object) -> None:
    """Raise an error unless there are at least one input channel and two classes.

    Raises:
        EnsError: when one of the two is too small; the message names it.
    """
    check_whole("in_channels", in_channels, 1)
    check_whole("classes", classes, 2)

"""The nn.Module around a pure loss function, and the check of ranges that the factories share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from ensemble.core.errors import EnsError


class LossModule(nn.Module):
    """Call a pure function ``f(logits_nchw, labels_nhw, **options) -> scalar`` with fixed options.

    Args:
        function: the pure function.
        options: keyword arguments of the function that are numbers or words.
        weights_c: class weights, passed to the function as ``weights_c``. They are a buffer, so ``.to(device)`` moves
            them. They follow from the counts, so they are not saved with the weights of a network.
    """

    weights_c: Tensor | None

    def __init__(
        self, function: Callable[..., Tensor], options: Mapping[str, Any] | None = None, weights_c: Tensor | None = None
    ) -> None:
        super().__init__()
        self.function = function
        self.options = dict(options or {})
        self.register_buffer("weights_c", weights_c, persistent=False)

    def forward(self, logits_nchw: Tensor, labels_nhw: Tensor) -> Tensor:
        """Return the scalar loss of logits (n, c, h, w) and int64 labels (n, h, w) with 255 = void."""
        if self.weights_c is None:
            return self.function(logits_nchw, labels_nhw, **self.options)
        return self.function(logits_nchw, labels_nhw, weights_c=self.weights_c, **self.options)

    def extra_repr(self) -> str:
        """Return the function's name and options, for the printed form of the module."""
        return ", ".join([self.function.__name__, *(f"{key}={value!r}" for key, value in self.options.items())])


def check_range(
    option: str, value: float, low: float, high: float = math.inf, *, open_high: bool = False, finite: bool = True
) -> None:
    """Raise an error for a number outside [low, high], or outside [low, high) with ``open_high``.

    Raises:
        EnsError: when the number is outside or NaN, or when it is infinite and ``finite`` is True.
    """
    outside = not low <= value <= high or (open_high and value == high)
    if outside or (finite and math.isinf(value)):
        span = f"at least {low:g}" if math.isinf(high) else f"from {low:g} to {high:g}"
        raise EnsError(
            f"expected option {option} {span}{' (exclusive)' if open_high else ''}, got {value}; change {option}"
        )

"""Learning rate and EMA decay as pure functions of the step, so that a resumed run needs no state for them."""

from __future__ import annotations

import math


def cosine_with_warmup(step: int, total: int, warmup: float) -> float:
    """Factor on the learning rate: linear from 0 over ``warmup * total`` steps, then a half cosine to 0.

    The first step is above 0 and the step after the last would be 0 (Loshchilov and Hutter 2017, SGDR, eq. 5).
    """
    rising = max(1, round(warmup * total))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))


def ema_decay(step: int, total: int, span: float) -> float:
    """Decay of the exponential moving average at ``step``: a time constant of ``span * total`` steps.

    It starts lower, as (1 + step) / (10 + step), so that random first weights are forgotten. ``span`` 0 is no average.
    """
    if span == 0:
        return 0.0
    return min(1 - 1 / max(2.0, span * total), (1 + step) / (10 + step))

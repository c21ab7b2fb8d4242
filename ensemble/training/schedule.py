"""Step 5 of training: learning rate and EMA decay as pure functions of the step; resuming needs no state for them."""

from __future__ import annotations

import math


def cosine_with_warmup(step: int, total: int, warmup: float) -> float:
    """Return the factor of the learning rate: linear from 0 over ``warmup * total`` steps, then a half cosine to 0.

    The factor of the first step is above 0; it would reach 0 one step after the last.

    Reference:
        Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017, equation 5.
    """
    rising = max(1, round(warmup * total))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))


def encoder_factor(step: int, total: int, factor: float, head_warmup: float) -> float:
    """Return the learning rate of the encoder as a factor on that of the other parts.

    It is 0 in the first ``head_warmup * total`` steps, in which the other parts learn to use the features as they are,
    and then ``factor``.

    Reference:
        Kumar et al., Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution, 2022 (first the
        head, then everything).

    >>> [encoder_factor(step, 10, 0.1, 0.2) for step in range(4)]
    [0.0, 0.0, 0.1, 0.1]
    """
    return factor if step >= round(head_warmup * total) else 0.0


def ema_decay(step: int, total: int, span: float) -> float:
    """Return the decay of the exponential moving average at ``step``; the time constant is ``span * total`` steps.

    The decay starts lower, with (1 + step) / (10 + step), so that the average forgets the random first weights. With
    ``span`` 0 there is no average: the decay is 0.
    """
    if span == 0:
        return 0.0
    return min(1 - 1 / max(2.0, span * total), (1 + step) / (10 + step))

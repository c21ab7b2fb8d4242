"""Operations that are slow on channels-last maps with few channels, in forms that are fast; the results are the same.

torch's element-wise operations run one inner loop per pixel if one operand has another stride than the others: maps of
16 channels then take 5 to 10 times as long as a plain pass over memory. `experiments/benchmarks/step_profile.py` shows
the time of each operation.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def concatenate(*maps_nchw: Tensor) -> Tensor:
    """Return ``torch.cat(maps, dim=1)``, whose gradients are contiguous instead of views with gaps.

    Args:
        maps_nchw: maps (n, c_i, h, w).

    >>> concatenate(torch.zeros(1, 2, 3, 3), torch.ones(1, 1, 3, 3)).shape
    torch.Size([1, 3, 3, 3])
    """
    if torch.is_grad_enabled() and any(maps.requires_grad for maps in maps_nchw):
        return _Concatenation.apply(*maps_nchw)  # pyright: ignore[reportReturnType]
    return torch.cat(maps_nchw, dim=1)


def weigh_pixels(maps_nchw: Tensor, weights_n1hw: Tensor) -> Tensor:
    """Return ``maps * weights``, one weight for all channels of a pixel.

    Args:
        maps_nchw: maps (n, c, h, w).
        weights_n1hw: weights (n, 1, h, w).

    >>> weigh_pixels(torch.ones(1, 2, 1, 2), torch.tensor([[[[3.0, 5.0]]]])).tolist()
    [[[[3.0, 5.0]], [[3.0, 5.0]]]]
    """
    weights_nchw = weights_n1hw.expand_as(maps_nchw).contiguous(memory_format=_format_of(maps_nchw))
    return maps_nchw * weights_nchw


class SumOfMaps(nn.Module):
    """Add maps of one shape, as ``torch.stack(maps).sum(0)`` does in place of which it stands in FPN.

    In training each map is added to the sum of those before it, which is several times as fast and keeps the memory
    layout; in bf16 the sum is then rounded after each addition. Without gradients the bits are those of the stack.
    """

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map tensors (n, c, h, w) to their sum."""
        return functools.reduce(torch.add, maps) if torch.is_grad_enabled() else torch.stack([*maps]).sum(0)


def _format_of(maps_nchw: Tensor) -> torch.memory_format:
    last = maps_nchw.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


class _Concatenation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *maps_nchw: Tensor) -> Tensor:
        ctx.channels = [maps.shape[1] for maps in maps_nchw]
        return torch.cat(maps_nchw, dim=1)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, ...]:
        (gradient_nchw,) = grad_outputs
        layout = _format_of(gradient_nchw)
        return tuple(part.contiguous(memory_format=layout) for part in gradient_nchw.split(ctx.channels, dim=1))

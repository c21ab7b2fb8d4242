"""Layers whose backward pass torch computes slowly on a CPU, in forms that are several times as fast.

``experiments/benchmarks/cpu_layers.py`` measures each of them. Weights keep their names, and without gradients a layer
computes as before; so trained networks predict the same bits.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEW_CHANNELS = 16  # from here on torch interpolates a vector of channels at once
SMALL_SIDE = 64  # the products take more time per pixel the larger the maps are


def use_fast_layers(network: nn.Module) -> nn.Module:
    """Replace the classes of slow layers of a network that trains on a CPU in bf16, and return the network.

    Depthwise convolutions with a kernel above 3x3 or a stride above 1 compute in float32; group norms compute on maps
    that lie in memory in the order (n, c, h, w); the bilinear up-sampling of few and small maps, which are logits as a
    rule, becomes two matrix products whose result stays in float32, as the loss wants it.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and _is_slow(module):
            _mix_in(_InFloat32, module)
        elif isinstance(module, nn.GroupNorm):
            _mix_in(_InOrder, module)
        elif isinstance(module, nn.Upsample) and module.mode == "bilinear" and not module.recompute_scale_factor:
            _mix_in(_AsProducts, module)
    return network


def _is_slow(convolution: nn.Conv2d) -> bool:
    depthwise = 1 < convolution.groups == convolution.in_channels
    return depthwise and (max(convolution.kernel_size) > 3 or max(convolution.stride) > 1)


def _mix_in(fast: type, module: nn.Module) -> None:
    kind = type(module)
    if not issubclass(kind, fast):
        module.__class__ = type(kind.__name__, (fast, kind), {})


def _learns(module: Any, maps_nchw: Tensor) -> bool:
    """Return whether a gradient passes a layer; none passes those of a frozen encoder."""
    return torch.is_grad_enabled() and (maps_nchw.requires_grad or any(p.requires_grad for p in module.parameters()))


class _InFloat32:
    """Mixed into the class of a convolution, in front of it."""

    def forward(self, maps_nchw: Tensor) -> Tensor:
        compute = cast("Any", super()).forward
        if not _learns(self, maps_nchw):
            return compute(maps_nchw)
        with torch.autocast(maps_nchw.device.type, enabled=False):
            return compute(maps_nchw.float()).to(maps_nchw.dtype)


class _InOrder:
    """Mixed into the class of a group norm, in front of it."""

    def forward(self, maps_nchw: Tensor) -> Tensor:
        compute = cast("Any", super()).forward
        if maps_nchw.ndim != 4 or not _learns(self, maps_nchw):
            return compute(maps_nchw)
        return compute(maps_nchw.contiguous()).contiguous(memory_format=torch.channels_last)


class _AsProducts:
    """Mixed into the class of a bilinear up-sampling, in front of it: rows and columns are interpolated in turn."""

    def forward(self, maps_nchw: Tensor) -> Tensor:
        compute = cast("Any", super()).forward
        height, width = maps_nchw.shape[2:]
        small = maps_nchw.shape[1] < FEW_CHANNELS and max(height, width) <= SMALL_SIDE
        if not small or not _learns(self, maps_nchw):
            return compute(maps_nchw)
        rows, columns = (_interpolation(side, axis, self) for axis, side in enumerate((height, width)))
        with torch.autocast(maps_nchw.device.type, enabled=False):
            return rows @ (maps_nchw.float().contiguous() @ columns.T)


def _interpolation(side: int, axis: int, layer: Any) -> Tensor:
    """Return the matrix (side after, side before) by which an up-sampling interpolates along an axis."""
    size, scale = (each[axis] if isinstance(each, tuple) else each for each in (layer.size, layer.scale_factor))
    return F.interpolate(torch.eye(side)[None], size, scale, "linear", layer.align_corners)[0].T

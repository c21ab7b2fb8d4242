"""Norms of the U-Net family by name, and the convolution that comes with one."""

from __future__ import annotations

from collections.abc import Callable
from math import gcd
from typing import Literal

from torch import nn

Norm = Literal["batch", "group", "instance", "none"]


def group_norm(channels: int) -> nn.GroupNorm:
    """Mean and deviation per image over 8 groups of channels (fewer where 8 does not divide): for tiny batches.

    Reference:
        Wu and He, Group Normalization, 2018, equations 1 to 7.
    """
    return nn.GroupNorm(gcd(8, channels), channels)


def instance_norm(channels: int) -> nn.GroupNorm:
    """Mean and deviation per image and channel, as a group norm of groups of one.

    torch's own instance norm refuses maps of 1x1 in training and leaves channels-last memory.

    Reference:
        Ulyanov et al., Instance Normalization: The Missing Ingredient for Fast Stylization, 2016.
    """
    return nn.GroupNorm(channels, channels)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "group": group_norm,
    "instance": instance_norm,
    "none": nn.Identity,
}


def conv_norm(
    in_channels: int, out_channels: int, size: int = 3, *, norm: Norm = "batch", dilation: int = 1
) -> nn.Sequential:
    """Convolution and norm at constant size; a bias only without a norm, because a norm would subtract it again.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        size: side of the kernel, odd.
        norm: a name of `NORMS`.
        dilation: distance of the kernel's taps, in pixels.
    """
    padding = dilation * (size // 2)
    conv = nn.Conv2d(in_channels, out_channels, size, padding=padding, dilation=dilation, bias=norm == "none")
    return nn.Sequential(conv, NORMS[norm](out_channels))


def conv_norm_relu(
    in_channels: int, out_channels: int, size: int = 3, *, norm: Norm = "batch", dilation: int = 1
) -> nn.Sequential:
    """`conv_norm` and ReLU; arguments as there."""
    layers = conv_norm(in_channels, out_channels, size, norm=norm, dilation=dilation)
    return layers.append(nn.ReLU(inplace=True))

"""Norms of the U-Net family by name, and the convolution that comes with one."""

from __future__ import annotations

from collections.abc import Callable
from math import gcd
from typing import Literal

from torch import nn

Norm = Literal["batch", "group", "instance", "none"]


def group_norm(channels: int) -> nn.GroupNorm:
    """Return a norm with mean and deviation per image over 8 groups of channels; it suits tiny batches.

    If 8 does not divide the number of channels, there are fewer groups.

    Reference:
        Wu and He, Group Normalization, 2018, equations 1 to 7.
    """
    return nn.GroupNorm(gcd(8, channels), channels)


def instance_norm(channels: int) -> nn.GroupNorm:
    """Return a norm with mean and deviation per image and channel: a group norm with one channel per group.

    torch's own instance norm refuses maps of 1x1 in training and does not keep the channels-last memory format.

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
    """Return a convolution and a norm that keep the size.

    The convolution has a bias only without a norm, because a norm would subtract it again.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        size: side of the kernel, odd.
        norm: a name of `NORMS`.
        dilation: distance between the kernel's taps, in pixels.
    """
    padding = dilation * (size // 2)
    conv = nn.Conv2d(in_channels, out_channels, size, padding=padding, dilation=dilation, bias=norm == "none")
    return nn.Sequential(conv, NORMS[norm](out_channels))


def conv_norm_relu(
    in_channels: int, out_channels: int, size: int = 3, *, norm: Norm = "batch", dilation: int = 1
) -> nn.Sequential:
    """Return a convolution, a norm and a ReLU; the arguments are those of `conv_norm`."""
    layers = conv_norm(in_channels, out_channels, size, norm=norm, dilation=dilation)
    return layers.append(nn.ReLU(inplace=True))

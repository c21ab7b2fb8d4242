"""The named members of the U-Net family: presets of one network, each with the options that matter to it."""

from __future__ import annotations

from typing import Literal

from torch import nn

from ensemble.architectures.registry import ARCHITECTURES
from ensemble.architectures.unet import unet

Up = Literal["transpose", "bilinear"]
FILTERS, DEPTH = 16, 4  # about 60 training images of 64x128 pixels a second on two shared cores in bfloat16


@ARCHITECTURES.register("unet-baseline")
def unet_baseline(in_channels: int, classes: int, *, filters: int = 16, depth: int = 2) -> nn.Module:
    """U-Net, shallow: 16 filters and two levels; the baseline to beat.

    Args:
        in_channels: channels of the images.
        classes: channels of the logits.
        filters: channels at full size, at least 1; doubled at each level.
        depth: halvings of the size, 1 to 5.

    Raises:
        EnsError: for an option out of range.

    Reference:
        Ronneberger et al., U-Net: Convolutional Networks for Biomedical Image Segmentation, 2015.
    """
    return unet(in_channels, classes, filters=filters, depth=depth)


@ARCHITECTURES.register("unet")
def plain_unet(
    in_channels: int,
    classes: int,
    *,
    filters: int = FILTERS,
    depth: int = DEPTH,
    dropout: float = 0.0,
    up: Up = "transpose",
) -> nn.Module:
    """U-Net: encoder and decoder joined by skips, with batch norm.

    Args:
        in_channels: channels of the images.
        classes: channels of the logits.
        filters: channels at full size, at least 1; doubled at each level.
        depth: halvings of the size, 1 to 5.
        dropout: share of the bottleneck's channels that is set to zero in training, in [0, 1).
        up: "transpose" (learned) or "bilinear" (fewer weights, no checkerboards).

    Raises:
        EnsError: for an option out of range.

    Reference:
        Ronneberger et al., U-Net: Convolutional Networks for Biomedical Image Segmentation, 2015.
    """
    return unet(in_channels, classes, filters=filters, depth=depth, dropout=dropout, up=up)


@ARCHITECTURES.register("attention-unet")
def attention_unet(
    in_channels: int,
    classes: int,
    *,
    filters: int = FILTERS,
    depth: int = DEPTH,
    dropout: float = 0.0,
    up: Up = "transpose",
) -> nn.Module:
    """Attention U-Net: additive gates let the decoder choose what of each skip passes.

    Arguments and errors as for "unet".

    Reference:
        Oktay et al., Attention U-Net: Learning Where to Look for the Pancreas, 2018.
    """
    return unet(in_channels, classes, filters=filters, depth=depth, attention="gate", dropout=dropout, up=up)


@ARCHITECTURES.register("se-unet")
def se_unet(
    in_channels: int,
    classes: int,
    *,
    filters: int = FILTERS,
    depth: int = DEPTH,
    dropout: float = 0.0,
    up: Up = "transpose",
) -> nn.Module:
    """SE U-Net: squeeze-and-excitation weighs the bottleneck's channels.

    Arguments and errors as for "unet".

    Reference:
        Hu et al., Squeeze-and-Excitation Networks, 2018.
    """
    return unet(in_channels, classes, filters=filters, depth=depth, bottleneck="se", dropout=dropout, up=up)


@ARCHITECTURES.register("residual-unet")
def residual_unet(
    in_channels: int,
    classes: int,
    *,
    filters: int = FILTERS,
    depth: int = DEPTH,
    dropout: float = 0.0,
    up: Up = "transpose",
) -> nn.Module:
    """Residual U-Net: the bottleneck is a residual block.

    Arguments and errors as for "unet".

    Reference:
        He et al., Deep Residual Learning for Image Recognition, 2016.
    """
    return unet(in_channels, classes, filters=filters, depth=depth, bottleneck="residual", dropout=dropout, up=up)

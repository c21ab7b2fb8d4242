"""Decoders of segmentation-models-pytorch that gather several scales: FPN, PSPNet, PAN, UPerNet."""

from __future__ import annotations

from typing import Annotated

from torch import nn

from ensemble.architectures.checks import check_rate, check_whole
from ensemble.architectures.registry import ARCHITECTURES
from ensemble.architectures.smp import MAX_DEPTH, MIN_DEPTH, smp_network
from ensemble.core.errors import EnsError
from ensemble.core.registry import Between

GROUPS = 32  # of FPN's group norm


@ARCHITECTURES.register("fpn")
def fpn(
    in_channels: int,
    classes: int,
    *,
    encoder: str = "resnet18",
    encoder_weights: str | None = None,
    depth: int = 4,
    pyramid_channels: Annotated[int, Between(32, 256, log=True)] = 128,
    out_channels: int = 64,
    dropout: Annotated[float, Between(0.0, 0.5)] = 0.2,
) -> nn.Module:
    """FPN: any encoder, its last four maps summed top-down, each decides, the sum of all is the answer.

    Args:
        in_channels: channels of the images.
        classes: channels of the logits.
        encoder: a name of `known_encoders`, or "tu-" and a timm model name.
        encoder_weights: None (random), "imagenet", or a file of the encoder's state dict (.safetensors, .pt, .pth).
        depth: halvings of the size, 3 to 5; the logits have ``1 / 2**(depth - 3)`` of the resolution.
        pyramid_channels: channels of the top-down maps, at least 1.
        out_channels: channels before the logits, a multiple of 32.
        dropout: share of those channels that is set to zero in training, in [0, 1).

    Raises:
        UnknownName: for an encoder that does not exist.
        EnsError: for an option out of range, a depth that the encoder cannot take, or weights that cannot be had.

    Reference:
        Lin et al., Feature Pyramid Networks for Object Detection, 2017; Kirillov et al., Panoptic Feature Pyramid
        Networks, 2019 (the segmentation branch).
    """
    check_whole("depth", depth, 3, MAX_DEPTH)
    check_whole("pyramid_channels", pyramid_channels, 1)
    check_whole("out_channels", out_channels, GROUPS)
    if out_channels % GROUPS:
        raise EnsError(f"expected out_channels to be a multiple of {GROUPS}, got {out_channels}; change out_channels")
    check_rate("dropout", dropout)
    return smp_network(
        "FPN",
        in_channels,
        classes,
        encoder=encoder,
        encoder_weights=encoder_weights,
        depth=depth,
        min_depth=3,
        decoder_pyramid_channels=pyramid_channels,
        decoder_segmentation_channels=out_channels,
        decoder_dropout=dropout,
        upsampling=2 ** (depth - 3),  # smp's default of 4 is right for depth 5 alone
    )


@ARCHITECTURES.register("pspnet")
def pspnet(
    in_channels: int,
    classes: int,
    *,
    encoder: str = "resnet18",
    encoder_weights: str | None = None,
    depth: int = 3,
    out_channels: Annotated[int, Between(64, 512, log=True)] = 256,
    dropout: Annotated[float, Between(0.0, 0.5)] = 0.2,
) -> nn.Module:
    """PSPNet: any encoder, pooled at 1x1, 2x2, 3x3 and 6x6; sees the whole image, blurs small things.

    The encoder's last map and its four averages (each convolved to a quarter of the channels and up-sampled) are
    concatenated, convolved, and the logits up-sampled by ``2**depth``. Arguments and errors as for "fpn", with depths
    of 2 to 5 (small ones keep more of the resolution) and any number of out_channels.

    Reference:
        Zhao et al., Pyramid Scene Parsing Network, 2017.
    """
    check_whole("depth", depth, MIN_DEPTH, MAX_DEPTH)
    check_whole("out_channels", out_channels, 1)
    check_rate("dropout", dropout)
    return smp_network(
        "PSPNet",
        in_channels,
        classes,
        encoder=encoder,
        encoder_weights=encoder_weights,
        depth=depth,
        psp_out_channels=out_channels,
        psp_dropout=dropout,
        upsampling=2**depth,  # smp's default of 8 is right for depth 3 alone
    )


@ARCHITECTURES.register("pan")
def pan(
    in_channels: int,
    classes: int,
    *,
    encoder: str = "resnet18",
    encoder_weights: str | None = None,
    depth: int = 3,
    out_channels: int = 64,
) -> nn.Module:
    """PAN: any encoder, a pyramid of convolutions weighs its last map, global averages guide the skips.

    Arguments and errors as for "fpn", with any number of out_channels. The pyramid halves the last map three times
    more, so that images are padded to multiples of 64 pixels at depth 3 and of 128 at depths 4 and 5 (where the last
    stage is dilated instead of halved): depth 3 is for small tiles.

    Reference:
        Li et al., Pyramid Attention Network for Semantic Segmentation, 2018.
    """
    check_whole("depth", depth, 3, MAX_DEPTH)
    check_whole("out_channels", out_channels, 1)
    return smp_network(
        "PAN",
        in_channels,
        classes,
        encoder=encoder,
        encoder_weights=encoder_weights,
        depth=depth,
        min_depth=3,
        pad_to=8 * min(2**depth, 16),
        encoder_output_stride=16 if depth == MAX_DEPTH else 32,  # 32: as it is, which encoders without dilation can
        decoder_channels=out_channels,
    )


@ARCHITECTURES.register("upernet")
def upernet(
    in_channels: int,
    classes: int,
    *,
    encoder: str = "resnet18",
    encoder_weights: str | None = None,
    depth: int = 4,
    out_channels: int = 128,
) -> nn.Module:
    """UPerNet: any encoder, PSPNet's pooling on the last map, FPN's top-down path, all scales fused at a quarter.

    Arguments and errors as for "fpn", with any number of out_channels.

    Reference:
        Xiao et al., Unified Perceptual Parsing for Scene Understanding, 2018.
    """
    check_whole("out_channels", out_channels, 1)
    return smp_network(
        "UPerNet",
        in_channels,
        classes,
        encoder=encoder,
        encoder_weights=encoder_weights,
        depth=depth,
        min_depth=3,
        decoder_channels=out_channels,
    )

"""Decoders of segmentation-models-pytorch that climb back to full size by skips: U-Net, U-Net++, MA-Net, Linknet."""

from __future__ import annotations

from typing import Annotated, Literal

from torch import nn

from ensemble.architectures.checks import check_whole
from ensemble.architectures.registry import ARCHITECTURES
from ensemble.architectures.smp import MAX_DEPTH, MIN_DEPTH, smp_network
from ensemble.core.errors import UnknownName
from ensemble.core.registry import Between

Attention = Literal["none", "scse"]
ATTENTIONS = {"none": None, "scse": "scse"}
SCSE_MIN = 16  # channels; scSE squeezes them by 16


def _widths(filters: int, depth: int) -> tuple[int, ...]:
    """Channels of the decoder's blocks, the deepest first; half of them at each doubling of the size."""
    check_whole("filters", filters, 1)
    check_whole("depth", depth, MIN_DEPTH, MAX_DEPTH)
    return tuple(filters * 2**level for level in reversed(range(depth)))


def _attention(attention: str, filters: int) -> str | None:
    """Smp's word for the decoder's attention."""
    if attention not in ATTENTIONS:
        raise UnknownName("attention of the decoder", str(attention), ATTENTIONS)
    if attention == "scse":
        check_whole("filters (with attention scse)", filters, SCSE_MIN)
    return ATTENTIONS[attention]


@ARCHITECTURES.register("smp-unet")
def smp_unet(
    in_channels: int,
    classes: int,
    *,
    encoder: str = "resnet18",
    encoder_weights: str | None = None,
    depth: Annotated[int, Between(2, 4)] = 4,
    filters: Annotated[int, Between(8, 32, log=True)] = 16,
    attention: Attention = "none",
) -> nn.Module:
    """U-Net on any encoder: skips concatenated, two convolutions at every size.

    Args:
        in_channels: channels of the images.
        classes: channels of the logits.
        encoder: a name of `known_encoders`, or "tu-" and a timm model name.
        encoder_weights: None (random), "imagenet", or a file of the encoder's state dict (.safetensors, .pt, .pth).
        depth: halvings of the size, 2 to 5; 4 leaves a map of 4x8 for images of 64x128.
        filters: channels of the decoder at full size, at least 1; doubled at each level.
        attention: "none", or "scse" (spatial and channel squeeze-and-excitation, from 16 filters).

    Raises:
        UnknownName: for an encoder that does not exist.
        EnsError: for an option out of range, a depth that the encoder cannot take, or weights that cannot be had.

    Reference:
        Ronneberger et al., U-Net, 2015; scSE: Roy et al., Recalibrating Fully Convolutional Networks, 2018.
    """
    return smp_network(
        "Unet",
        in_channels,
        classes,
        encoder=encoder,
        encoder_weights=encoder_weights,
        depth=depth,
        decoder_channels=_widths(filters, depth),
        decoder_attention_type=_attention(attention, filters),
    )


@ARCHITECTURES.register("unetplusplus")
def unetplusplus(
    in_channels: int,
    classes: int,
    *,
    encoder: str = "resnet18",
    encoder_weights: str | None = None,
    depth: Annotated[int, Between(2, 4)] = 4,
    filters: Annotated[int, Between(8, 32, log=True)] = 16,
    attention: Attention = "none",
) -> nn.Module:
    """U-Net++ on any encoder: the skips are a dense grid of convolutions; slow, fine borders.

    Arguments and errors as for "smp-unet".

    Reference:
        Zhou et al., UNet++: A Nested U-Net Architecture for Medical Image Segmentation, 2018.
    """
    return smp_network(
        "UnetPlusPlus",
        in_channels,
        classes,
        encoder=encoder,
        encoder_weights=encoder_weights,
        depth=depth,
        decoder_channels=_widths(filters, depth),
        decoder_attention_type=_attention(attention, filters),
    )


@ARCHITECTURES.register("manet")
def manet(
    in_channels: int,
    classes: int,
    *,
    encoder: str = "resnet18",
    encoder_weights: str | None = None,
    depth: Annotated[int, Between(2, 4)] = 4,
    filters: Annotated[int, Between(8, 32, log=True)] = 16,
) -> nn.Module:
    """MA-Net on any encoder: position attention on the deepest map, channel attention on the skips.

    Arguments and errors as for "smp-unet". The position attention compares every pixel of the deepest map with every
    other, so that small depths cost memory with the fourth power of the side.

    Reference:
        Fan et al., MA-Net: A Multi-Scale Attention Network for Liver and Tumor Segmentation, 2020.
    """
    return smp_network(
        "MAnet",
        in_channels,
        classes,
        encoder=encoder,
        encoder_weights=encoder_weights,
        depth=depth,
        decoder_channels=_widths(filters, depth),
    )


@ARCHITECTURES.register("linknet")
def linknet(
    in_channels: int,
    classes: int,
    *,
    encoder: str = "resnet18",
    encoder_weights: str | None = None,
    depth: Annotated[int, Between(2, 4)] = 4,
) -> nn.Module:
    """Linknet: any encoder, skips added to a light decoder; fast.

    Each decoder block is a 1x1 convolution to a quarter of the channels, a transposed convolution that doubles the
    size, and a 1x1 convolution; ``x_{i-1} = block_i(x_i) + skip_{i-1}``. Arguments and errors as for "smp-unet".

    Reference:
        Chaurasia and Culurciello, LinkNet: Exploiting Encoder Representations for Efficient Segmentation, 2017.
    """
    return smp_network("Linknet", in_channels, classes, encoder=encoder, encoder_weights=encoder_weights, depth=depth)

"""Options of the decoders of segmentation-models-pytorch (smp).

Each function takes the options that a user gives, checks them, and returns the arguments of smp's class. Its
keyword-only parameters are the options of the architecture: their names, types, defaults and search ranges. ``depth``
is the number of halvings of the size by the encoder; `smp_family` has checked it already.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from ensemble.architectures.checks import check_rate, check_whole
from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.registry import Between

Arguments = dict[str, Any]
Attention = Literal["none", "scse"]
OutputStride = Literal[8, 16]

ATTENTIONS = {"none": None, "scse": "scse"}  # our word: smp's word
SCSE_MIN = 16  # channels; scSE squeezes them by 16
GROUPS = 32  # groups of the group norm in FPN
DILATED_DEPTH = 5  # PAN dilates the fifth stage of the encoder


def unet(
    *,
    depth: Annotated[int, Between(2, 4)] = 4,
    filters: Annotated[int, Between(8, 32, log=True)] = 16,
    attention: Attention = "none",
) -> Arguments:
    """Return the arguments of U-Net and U-Net++.

    Args:
        depth: halvings of the size; 4 leaves a map of 4x8 for images of 64x128.
        filters: channels of the decoder at full size, at least 1; doubled at each level.
        attention: "none", or "scse" (spatial and channel squeeze-and-excitation, from 16 filters on).
    """
    widths = manet(depth=depth, filters=filters)
    if attention not in ATTENTIONS:
        raise UnknownName("attention", str(attention), ATTENTIONS, where="of the decoder")
    if attention == "scse":
        check_whole("filters (with attention scse)", filters, SCSE_MIN)
    return widths | {"decoder_attention_type": ATTENTIONS[attention]}


def manet(
    *, depth: Annotated[int, Between(2, 4)] = 4, filters: Annotated[int, Between(8, 32, log=True)] = 16
) -> Arguments:
    """Return the channels of the decoder's blocks, the deepest first; each level has half those of the one below.

    The position attention of MA-Net compares every pixel of the deepest map with every other, so its memory grows with
    the fourth power of that map's side: small depths are expensive.
    """
    check_whole("filters", filters, 1)
    return {"decoder_channels": tuple(filters * 2**level for level in reversed(range(depth)))}


def linknet(*, depth: Annotated[int, Between(2, 4)] = 4) -> Arguments:
    """Return no arguments: the decoder of Linknet has no options.

    Each decoder block is a 1x1 convolution to a quarter of the channels, a transposed convolution that doubles the
    size, and a 1x1 convolution; ``x_{i-1} = block_i(x_i) + skip_{i-1}``.
    """
    return {}


def fpn(
    *,
    depth: int = 4,
    pyramid_channels: Annotated[int, Between(32, 256, log=True)] = 128,
    out_channels: int = 64,
    dropout: Annotated[float, Between(0.0, 0.5)] = 0.2,
) -> Arguments:
    """Return the arguments of FPN.

    Args:
        depth: halvings of the size; the logits have ``1 / 2**(depth - 3)`` of the resolution.
        pyramid_channels: channels of the top-down maps, at least 1.
        out_channels: channels before the logits, a multiple of 32.
        dropout: share of those channels that is set to zero in training, in [0, 1).
    """
    check_whole("pyramid_channels", pyramid_channels, 1)
    check_whole("out_channels", out_channels, GROUPS)
    if out_channels % GROUPS:
        raise EnsError(f"expected out_channels to be a multiple of {GROUPS}, got {out_channels}; change out_channels")
    check_rate("dropout", dropout)
    return {
        "decoder_pyramid_channels": pyramid_channels,
        "decoder_segmentation_channels": out_channels,
        "decoder_dropout": dropout,
        "upsampling": 2 ** (depth - 3),  # smp's default of 4 is right for depth 5 only
    }


def pspnet(
    *,
    depth: int = 3,
    out_channels: Annotated[int, Between(64, 512, log=True)] = 256,
    dropout: Annotated[float, Between(0.0, 0.5)] = 0.2,
) -> Arguments:
    """Return the arguments of PSPNet.

    The encoder's last map and its four averages (each convolved to a quarter of the channels and up-sampled) are
    concatenated and convolved, and the logits are up-sampled by ``2**depth``. Small depths keep more of the resolution.

    Args:
        depth: halvings of the size.
        out_channels: channels before the logits, at least 1.
        dropout: share of those channels that is set to zero in training, in [0, 1).
    """
    check_whole("out_channels", out_channels, 1)
    check_rate("dropout", dropout)
    # smp's default up-sampling of 8 is right for depth 3 only.
    return {"psp_out_channels": out_channels, "psp_dropout": dropout, "upsampling": 2**depth}


def pan(*, depth: int = 3, out_channels: int = 64) -> Arguments:
    """Return the arguments of PAN: the stride of the encoder and the channels of the decoder, at least 1.

    An output stride of 32 leaves the encoder as it is, so encoders that cannot be dilated work up to depth 4.
    """
    stride = 16 if depth == DILATED_DEPTH else 32
    return upernet(depth=depth, out_channels=out_channels) | {"encoder_output_stride": stride}


def pan_multiple(depth: int) -> int:
    """Return the multiple, in pixels, that the image sides of PAN are padded to: 64 at depth 3, 128 at depths 4 and 5.

    The pyramid of PAN halves the encoder's last map three times more, so depth 3 is for small tiles.
    """
    return 8 * min(2**depth, 16)


def upernet(*, depth: int = 4, out_channels: int = 128) -> Arguments:
    """Return the channels of the decoder, at least 1."""
    check_whole("out_channels", out_channels, 1)
    return {"decoder_channels": out_channels}


def deeplab(
    *,
    depth: int = 4,
    output_stride: OutputStride = 8,
    rates: tuple[int, int, int] = (2, 4, 6),
    out_channels: Annotated[int, Between(32, 256, log=True)] = 128,
    dropout: Annotated[float, Between(0.0, 0.5)] = 0.2,
) -> Arguments:
    """Return the arguments of DeepLabV3 and DeepLabV3+.

    Args:
        depth: stages of the encoder; the last map has ``1 / min(2**depth, output_stride)`` of the size.
        output_stride: 8 or 16; a stage that would make the map smaller is dilated instead. Not every encoder can be.
        rates: dilations, in pixels of the last map. The paper's (6, 12, 18) at stride 16 of 513x513 images reach a
            third of the map. A rate above the side of the map leaves only the centre of a kernel (section 3.3), so the
            defaults here are smaller.
        out_channels: channels of each branch, at least 1.
        dropout: share of the values that is set to zero after the branches in training, in [0, 1).
    """
    if output_stride not in (8, 16):
        raise EnsError(f"expected output_stride to be 8 or 16, got {output_stride!r}; change output_stride")
    if len(rates) != 3:
        raise EnsError(f"expected rates to be three whole numbers, got {len(rates)}; write for example rates=[2, 4, 6]")
    for rate in rates:
        check_whole("rates", rate, 1)
    check_rate("dropout", dropout)
    return upernet(depth=depth, out_channels=out_channels) | {
        "encoder_output_stride": output_stride,
        "decoder_atrous_rates": tuple(rates),
        "decoder_aspp_dropout": dropout,
    }


def segformer(*, depth: int = 4, out_channels: Annotated[int, Between(32, 256, log=True)] = 128) -> Arguments:
    """Return the channels before the logits, at least 1."""
    check_whole("out_channels", out_channels, 1)
    return {"decoder_segmentation_channels": out_channels}


def dpt(*, depth: int = 4, out_channels: int = 64) -> Arguments:
    """Return the arguments of DPT.

    The encoder is a plain vision transformer of timm with patches of 8, 16 or 32 pixels. The size in its name is the
    one its position embeddings were made for; they are interpolated to the grid of each image, so any size works.

    Args:
        depth: number of the encoder's blocks that are read.
        out_channels: channels of the fused maps, at least 1.
    """
    check_whole("out_channels", out_channels, 1)
    return {
        "decoder_intermediate_channels": (out_channels,) * depth,
        "decoder_fusion_channels": out_channels,
        "dynamic_img_size": True,
    }


def dpt_multiple(depth: int) -> int:
    """Return the multiple, in pixels, that the image sides of DPT are padded to.

    Patches must be whole, and so must the pixels of the smallest map.
    """
    return max(32, 2 ** (depth + 1))

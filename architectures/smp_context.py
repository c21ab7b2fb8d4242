"""Decoders of segmentation-models-pytorch that see far at one scale: DeepLabV3, DeepLabV3+, SegFormer, DPT."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from torch import nn

from ensemble.architectures.checks import check_rate, check_whole
from ensemble.architectures.registry import ARCHITECTURES
from ensemble.architectures.smp import MAX_DEPTH, MIN_DEPTH, smp_network
from ensemble.core.errors import EnsError
from ensemble.core.registry import Between

OutputStride = Literal[8, 16]


def _atrous(
    output_stride: int, rates: tuple[int, ...], out_channels: int, dropout: float, *, separable: bool
) -> dict[str, Any]:
    if output_stride not in (8, 16):
        raise EnsError(f"expected output_stride to be 8 or 16, got {output_stride!r}; change output_stride")
    if len(rates) != 3:
        raise EnsError(f"expected rates to be three whole numbers, got {len(rates)}; write for example rates=2,4,6")
    for rate in rates:
        check_whole("rates", rate, 1)
    check_whole("out_channels", out_channels, 1)
    check_rate("dropout", dropout)
    return {
        "encoder_output_stride": output_stride,
        "decoder_channels": out_channels,
        "decoder_atrous_rates": tuple(rates),
        "decoder_aspp_separable": separable,
        "decoder_aspp_dropout": dropout,
    }


@ARCHITECTURES.register("deeplabv3")
def deeplabv3(
    in_channels: int,
    classes: int,
    *,
    encoder: str = "resnet18",
    encoder_weights: str | None = None,
    depth: int = 4,
    output_stride: OutputStride = 8,
    rates: tuple[int, int, int] = (2, 4, 6),
    out_channels: Annotated[int, Between(32, 256, log=True)] = 128,
    dropout: Annotated[float, Between(0.0, 0.5)] = 0.2,
) -> nn.Module:
    """DeepLabV3: an encoder whose last stages are dilated instead of halved, then convolutions at three dilations.

    Args:
        in_channels: channels of the images.
        classes: channels of the logits.
        encoder: a name of `known_encoders`, or "tu-" and a timm model name; not every encoder can be dilated.
        encoder_weights: None (random), "imagenet", or a file of the encoder's state dict (.safetensors, .pt, .pth).
        depth: stages of the encoder, 3 to 5; the last map has ``1 / min(2**depth, output_stride)`` of the size.
        output_stride: 8 or 16; what would be smaller is dilated.
        rates: dilations, in pixels of the last map. The paper's (6, 12, 18) at stride 16 of 513x513 images reach a
            third of the map; more than its side leaves only the centre of a kernel (section 3.3), hence less here.
        out_channels: channels of each branch, at least 1.
        dropout: share of the values that is set to zero after the branches in training, in [0, 1).

    Raises:
        UnknownName: for an encoder that does not exist.
        EnsError: for an option out of range, a depth that the encoder cannot take, or weights that cannot be had.

    Reference:
        Chen et al., Rethinking Atrous Convolution for Semantic Image Segmentation, 2017.
    """
    return smp_network(
        "DeepLabV3",
        in_channels,
        classes,
        encoder=encoder,
        encoder_weights=encoder_weights,
        depth=depth,
        min_depth=3,
        **_atrous(output_stride, rates, out_channels, dropout, separable=False),
    )


@ARCHITECTURES.register("deeplabv3plus")
def deeplabv3plus(
    in_channels: int,
    classes: int,
    *,
    encoder: str = "resnet18",
    encoder_weights: str | None = None,
    depth: int = 4,
    output_stride: OutputStride = 8,
    rates: tuple[int, int, int] = (2, 4, 6),
    out_channels: Annotated[int, Between(32, 256, log=True)] = 128,
    dropout: Annotated[float, Between(0.0, 0.5)] = 0.2,
) -> nn.Module:
    """DeepLabV3+: DeepLabV3 with separable convolutions and a skip from a quarter of the size.

    Arguments and errors as for "deeplabv3".

    Reference:
        Chen et al., Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation, 2018.
    """
    return smp_network(
        "DeepLabV3Plus",
        in_channels,
        classes,
        encoder=encoder,
        encoder_weights=encoder_weights,
        depth=depth,
        min_depth=3,
        **_atrous(output_stride, rates, out_channels, dropout, separable=True),
    )


@ARCHITECTURES.register("segformer")
def segformer(
    in_channels: int,
    classes: int,
    *,
    encoder: str = "mit_b0",
    encoder_weights: str | None = None,
    depth: int = 4,
    out_channels: Annotated[int, Between(32, 256, log=True)] = 128,
) -> nn.Module:
    """SegFormer: a transformer encoder (or any other), each map through one linear layer, fused at a quarter.

    Arguments and errors as for "deeplabv3"; depth: halvings of the size, 3 to 5.

    Reference:
        Xie et al., SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers, 2021.
    """
    check_whole("out_channels", out_channels, 1)
    return smp_network(
        "Segformer",
        in_channels,
        classes,
        encoder=encoder,
        encoder_weights=encoder_weights,
        depth=depth,
        min_depth=3,
        decoder_segmentation_channels=out_channels,
    )


@ARCHITECTURES.register("dpt")
def dpt(
    in_channels: int,
    classes: int,
    *,
    encoder: str = "tu-vit_tiny_patch16_224",
    encoder_weights: str | None = None,
    depth: int = 4,
    out_channels: int = 64,
) -> nn.Module:
    """DPT: a vision transformer, read at several blocks, whose tokens become maps and are fused upwards.

    Arguments and errors as for "deeplabv3", but the encoder is a plain vision transformer of timm with patches of 8,
    16 or 32 pixels, and depth is the number of its blocks that are read, 2 to 5. The size in its name is where its
    position embeddings were made; they are interpolated to the grid of each image, so that any size works.

    Reference:
        Ranftl et al., Vision Transformers for Dense Prediction, 2021.
    """
    check_whole("depth", depth, MIN_DEPTH, MAX_DEPTH)
    check_whole("out_channels", out_channels, 1)
    return smp_network(
        "DPT",
        in_channels,
        classes,
        encoder=encoder,
        encoder_weights=encoder_weights,
        depth=depth,
        pad_to=max(32, 2 ** (depth + 1)),  # whole patches, and whole pixels of the smallest map
        decoder_intermediate_channels=(out_channels,) * depth,
        decoder_fusion_channels=out_channels,
        dynamic_img_size=True,
    )

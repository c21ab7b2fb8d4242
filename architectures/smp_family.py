"""The decoders of segmentation-models-pytorch (smp) by name: one table, and the factory that every row gets.

Options of every decoder, in addition to those of its row in `smp_decoders`:

- ``encoder``: a name of `known_encoders`, or "tu-" and the name of a timm model.
- ``encoder_weights``: None (random), "imagenet", "package:" and a name such as "efficientnet-lite0", or a file of the
  encoder's state dict (.safetensors, .pt, .pth).
- ``depth``: halvings of the size by the encoder, up to 5.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from ensemble.architectures import smp_decoders
from ensemble.architectures.checks import check_channels, check_whole
from ensemble.architectures.family import register_member
from ensemble.architectures.smp import MAX_DEPTH, smp_network

POSITIONAL, KEYWORD = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY


def whole_halvings(depth: int) -> int:
    """Return the multiple, in pixels, that most decoders need: the encoder halves the sides ``depth`` times."""
    return 2**depth


def decoder(
    name: str,
    kind: str,
    arguments: Callable[..., smp_decoders.Arguments],
    summary: str,
    reference: str,
    *,
    encoder: str = "resnet18",
    min_depth: int = 2,
    multiple: Callable[[int], int] = whole_halvings,
) -> None:
    """Register the factory ``name``: ``smp.<kind>`` for images of any size.

    Args:
        name: name of the architecture.
        kind: name of the class in segmentation_models_pytorch.
        arguments: function of `smp_decoders`; its parameters are options of the architecture.
        summary: one line for `ens list`.
        reference: the paper.
        encoder: default of the option ``encoder``.
        min_depth: smallest depth that the decoder can use.
        multiple: function from the depth to the multiple, in pixels, that the image sides are padded to.
    """

    def build(
        in_channels: int, classes: int, encoder: str, encoder_weights: str | None, depth: int, **options: Any
    ) -> nn.Module:
        check_channels(in_channels, classes)
        check_whole("depth", depth, min_depth, MAX_DEPTH)
        return smp_network(
            kind,
            in_channels,
            classes,
            encoder=encoder,
            encoder_weights=encoder_weights,
            depth=depth,
            min_depth=min_depth,
            pad_to=multiple(depth),
            **arguments(depth=depth, **options),
        )

    parameters = [
        inspect.Parameter("in_channels", POSITIONAL, annotation=int),
        inspect.Parameter("classes", POSITIONAL, annotation=int),
        inspect.Parameter("encoder", KEYWORD, default=encoder, annotation=str),
        inspect.Parameter("encoder_weights", KEYWORD, default=None, annotation=str | None),
        *inspect.signature(arguments, eval_str=True).parameters.values(),
    ]
    docstring = f"""{summary}

    Its options are those of `smp_family` and of `smp_decoders.{arguments.__name__}`; depth is {min_depth} to 5.

    Raises:
        UnknownName: for an encoder that does not exist.
        EnsError: for an option out of range, a depth that the encoder cannot take, or weights that cannot be had.

    Reference:
        {reference}
    """
    register_member(name, build, parameters, docstring)


# Decoders that climb back to full size by skips.
decoder(
    "smp-unet",
    "Unet",
    smp_decoders.unet,
    "U-Net on any encoder: skips concatenated, two convolutions at every size.",
    "Ronneberger et al., U-Net, 2015; scSE: Roy et al., Recalibrating Fully Convolutional Networks, 2018.",
)
decoder(
    "unetplusplus",
    "UnetPlusPlus",
    smp_decoders.unet,
    "U-Net++ on any encoder: the skips are a dense grid of convolutions; slow, fine borders.",
    "Zhou et al., UNet++: A Nested U-Net Architecture for Medical Image Segmentation, 2018.",
)
decoder(
    "manet",
    "MAnet",
    smp_decoders.manet,
    "MA-Net on any encoder: position attention on the deepest map, channel attention on the skips.",
    "Fan et al., MA-Net: A Multi-Scale Attention Network for Liver and Tumor Segmentation, 2020.",
)
decoder(
    "linknet",
    "Linknet",
    smp_decoders.linknet,
    "Linknet: any encoder, skips added to a light decoder; fast.",
    "Chaurasia and Culurciello, LinkNet: Exploiting Encoder Representations for Efficient Segmentation, 2017.",
)

# Decoders that gather several scales.
decoder(
    "fpn",
    "FPN",
    smp_decoders.fpn,
    "FPN: any encoder, its last four maps summed top-down, each decides, the sum of all is the answer.",
    "Lin et al., Feature Pyramid Networks for Object Detection, 2017; Kirillov et al., Panoptic Feature Pyramid "
    "Networks, 2019 (the segmentation branch).",
    min_depth=3,
)
decoder(
    "pspnet",
    "PSPNet",
    smp_decoders.pspnet,
    "PSPNet: any encoder, pooled at 1x1, 2x2, 3x3 and 6x6; sees the whole image, blurs small things.",
    "Zhao et al., Pyramid Scene Parsing Network, 2017.",
)
decoder(
    "pan",
    "PAN",
    smp_decoders.pan,
    "PAN: any encoder, a pyramid of convolutions weighs its last map, global averages guide the skips.",
    "Li et al., Pyramid Attention Network for Semantic Segmentation, 2018.",
    min_depth=3,
    multiple=smp_decoders.pan_multiple,
)
decoder(
    "upernet",
    "UPerNet",
    smp_decoders.upernet,
    "UPerNet: any encoder, PSPNet's pooling on the last map, FPN's top-down path, all scales fused at a quarter.",
    "Xiao et al., Unified Perceptual Parsing for Scene Understanding, 2018.",
    min_depth=3,
)

# Decoders that see far at one scale.
decoder(
    "deeplabv3",
    "DeepLabV3",
    smp_decoders.deeplab,
    "DeepLabV3: an encoder whose last stages are dilated instead of halved, then convolutions at three dilations.",
    "Chen et al., Rethinking Atrous Convolution for Semantic Image Segmentation, 2017.",
    min_depth=3,
)
decoder(
    "deeplabv3plus",
    "DeepLabV3Plus",
    smp_decoders.deeplab,
    "DeepLabV3+: DeepLabV3 with separable convolutions and a skip from a quarter of the size.",
    "Chen et al., Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation, 2018.",
    min_depth=3,
)
decoder(
    "segformer",
    "Segformer",
    smp_decoders.segformer,
    "SegFormer: a transformer encoder (or any other), each map through one linear layer, fused at a quarter.",
    "Xie et al., SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers, 2021.",
    encoder="mit_b0",
    min_depth=3,
)
decoder(
    "dpt",
    "DPT",
    smp_decoders.dpt,
    "DPT: a vision transformer, read at several blocks, whose tokens become maps and are fused upwards.",
    "Ranftl et al., Vision Transformers for Dense Prediction, 2021.",
    encoder="tu-vit_tiny_patch16_224",
    multiple=smp_decoders.dpt_multiple,
)

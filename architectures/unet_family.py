"""The members of the U-Net family by name: presets of one network, which differ only in their defaults."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from ensemble.architectures.family import register_member
from ensemble.architectures.padding import Padded
from ensemble.architectures.unet import UNet

PARAMETERS = inspect.signature(UNet, eval_str=True).parameters


def build(in_channels: int, classes: int, **options: Any) -> nn.Module:
    """Return a `UNet` for images of any size."""
    network = UNet(in_channels, classes, **options)
    return Padded(network, in_channels, network.multiple)


def preset(name: str, summary: str, reference: str, **changed: Any) -> None:
    """Register the factory ``name``: a `UNet` with other defaults, which takes every option of `UNet`.

    Args:
        name: name of the architecture.
        summary: one line for `ens list`.
        reference: the paper.
        **changed: the options of `UNet` whose defaults differ, with the new defaults.
    """
    parameters = [
        parameter.replace(default=changed.get(key, parameter.default)) for key, parameter in PARAMETERS.items()
    ]
    docstring = f"""{summary}

    Arguments and errors are those of `UNet`; other defaults: {changed or "none"}.

    Reference:
        {reference}
    """
    register_member(name, build, parameters, docstring)


_RONNEBERGER = "Ronneberger et al., U-Net: Convolutional Networks for Biomedical Image Segmentation, 2015."
_HU = "Hu et al., Squeeze-and-Excitation Networks, 2018."

# The defaults of `UNet`, 16 filters and depth 4, train about 60 images of 64x128 pixels a second on two shared cores in
# bfloat16.
preset("unet-baseline", "U-Net, shallow: 16 filters and two levels; the baseline to beat.", _RONNEBERGER, depth=2)
preset("unet", "U-Net: encoder and decoder joined by skips, with batch norm.", _RONNEBERGER)
preset(
    "attention-unet",
    "Attention U-Net: additive gates let the decoder choose what of each skip passes.",
    "Oktay et al., Attention U-Net: Learning Where to Look for the Pancreas, 2018.",
    attention="wide-gate",
)
preset(
    "channel-attention-unet",
    "Channel-attention U-Net: squeeze-and-excitation weighs the channels of each skip.",
    _HU,
    attention="se",
)
preset(
    "scag-unet",
    "SCAG U-Net: skip and decoder together weigh the skip's pixels and channels.",
    "Khanh et al., Enhancing U-Net with Spatial-Channel Attention Gate for Abnormal Tissue Segmentation in Medical "
    "Imaging, 2020.",
    attention="spatial-channel",
)
preset(
    "scse-unet",
    "scSE U-Net: channels and pixels of each skip weighed side by side.",
    "Roy et al., Concurrent Spatial and Channel Squeeze & Excitation in Fully Convolutional Networks, 2018.",
    attention="scse",
)
preset(
    "cbam-unet",
    "CBAM U-Net: channels, then pixels of each skip weighed by their means and maxima.",
    "Woo et al., CBAM: Convolutional Block Attention Module, 2018.",
    attention="cbam",
)
preset("se-unet", "SE U-Net: squeeze-and-excitation weighs the bottleneck's channels.", _HU, bottleneck="se")
preset(
    "residual-unet",
    "Residual U-Net: the bottleneck is a residual block.",
    "He et al., Deep Residual Learning for Image Recognition, 2016.",
    bottleneck="residual",
)
preset(
    "se-residual-unet",
    "SE-residual U-Net: the bottleneck is a residual block with squeeze-and-excitation.",
    _HU,
    bottleneck="se-residual",
)
preset(
    "resunet",
    "ResUNet: every block is residual.",
    "Zhang et al., Road Extraction by Deep Residual U-Net, 2018.",
    block="residual",
    bottleneck="residual",
)
preset(
    "convnext-unet",
    "ConvNeXt U-Net: every block is a depthwise 7x7 convolution and a wide 1x1 pair.",
    "Liu et al., A ConvNet for the 2020s, 2022.",
    block="convnext",
    bottleneck="convnext",
)
preset(
    "aspp-unet",
    "ASPP U-Net: the bottleneck looks at several distances and the image's mean.",
    "Chen et al., Rethinking Atrous Convolution for Semantic Image Segmentation, 2017.",
    bottleneck="aspp",
)
preset(
    "transformer-unet",
    "Transformer U-Net: at the bottleneck every pixel attends to every other one.",
    "Chen et al., TransUNet: Transformers Make Strong Encoders for Medical Image Segmentation, 2021.",
    bottleneck="transformer",
)

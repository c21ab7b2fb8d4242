"""Linknet: a light decoder that adds the encoder's maps instead of concatenating them."""

from __future__ import annotations

from torch import nn

from ensemble.architectures.registry import ARCHITECTURES
from ensemble.architectures.smp import smp_network


@ARCHITECTURES.register("linknet")
def linknet(in_channels: int, classes: int, *, encoder: str = "resnet18", depth: int = 4) -> nn.Module:
    """Linknet: any encoder, skips added to a light decoder; fast.

    Each decoder block is a 1x1 convolution to a quarter of the channels, a transposed convolution that doubles the
    size, and a 1x1 convolution; ``x_{i-1} = block_i(x_i) + skip_{i-1}``.

    Args:
        in_channels: channels of the images.
        classes: channels of the logits.
        encoder: a name of `known_encoders`, or "tu-" and a timm model name; random weights.
        depth: halvings of the size, 2 to 5; 4 leaves a map of 4x8 for images of 64x128.

    Raises:
        UnknownName: for an encoder that does not exist.
        EnsError: for a depth out of range, or one that the encoder cannot take.

    Reference:
        Chaurasia and Culurciello, LinkNet: Exploiting Encoder Representations for Efficient Segmentation, 2017.
    """
    return smp_network("Linknet", in_channels, classes, encoder=encoder, depth=depth)

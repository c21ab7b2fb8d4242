"""PSPNet: the encoder's last map, pooled at four scales, decides."""

from __future__ import annotations

from torch import nn

from ensemble.architectures.checks import check_rate, check_whole
from ensemble.architectures.registry import ARCHITECTURES
from ensemble.architectures.smp import smp_network


@ARCHITECTURES.register("pspnet")
def pspnet(
    in_channels: int,
    classes: int,
    *,
    encoder: str = "resnet18",
    depth: int = 3,
    out_channels: int = 256,
    dropout: float = 0.2,
) -> nn.Module:
    """PSPNet: any encoder, pooled at 1x1, 2x2, 3x3 and 6x6; sees the whole image, blurs small things.

    The encoder's last map and its four averages (each convolved to a quarter of the channels and up-sampled) are
    concatenated, convolved, and the logits up-sampled by ``2**depth``.

    Args:
        in_channels: channels of the images.
        classes: channels of the logits.
        encoder: a name of `known_encoders`, or "tu-" and a timm model name; random weights.
        depth: halvings of the size, 2 to 5; the logits have ``1 / 2**depth`` of the resolution, so small is fine.
        out_channels: channels between the pyramid and the logits, at least 1.
        dropout: share of those channels that is set to zero in training, in [0, 1).

    Raises:
        UnknownName: for an encoder that does not exist.
        EnsError: for an option out of range, or a depth that the encoder cannot take.

    Reference:
        Zhao et al., Pyramid Scene Parsing Network, 2017.
    """
    check_whole("depth", depth, 1)  # before 2**depth; smp_network checks the range
    check_whole("out_channels", out_channels, 1)
    check_rate("dropout", dropout)
    return smp_network(
        "PSPNet",
        in_channels,
        classes,
        encoder=encoder,
        depth=depth,
        psp_out_channels=out_channels,
        psp_dropout=dropout,
        upsampling=2**depth,  # smp's default of 8 is right for depth 3 alone
    )

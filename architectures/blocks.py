"""Convolution blocks, bottlenecks and up-sampling of the U-Net family, each kind by name.

``BLOCKS`` and ``BOTTLENECKS`` map a name to ``builder(in_channels, out_channels) -> module`` that keeps the size,
``UPS`` to one that doubles it. A new kind is one entry.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ensemble.architectures.attention import squeeze_excitation

Builder = Callable[[int, int], nn.Module]


def conv_norm(in_channels: int, out_channels: int, size: int = 3) -> nn.Sequential:
    """Convolution and batch norm at constant size; no bias, because the norm would subtract it again."""
    conv = nn.Conv2d(in_channels, out_channels, size, padding=size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


def plain_block(in_channels: int, out_channels: int) -> nn.Sequential:
    """Two times convolution 3x3, batch norm, ReLU.

    Reference:
        Ronneberger et al., U-Net, 2015, section 2, with the batch norm of Ioffe and Szegedy, 2015.
    """
    return nn.Sequential(
        conv_norm(in_channels, out_channels),
        nn.ReLU(inplace=True),
        conv_norm(out_channels, out_channels),
        nn.ReLU(inplace=True),
    )


class ResidualBlock(nn.Module):
    """``relu(BN(conv(relu(BN(conv(x))))) + s(x))`` with s the identity, or a 1x1 projection when channels change.

    Reference:
        He et al., Deep Residual Learning for Image Recognition, 2016, equations 1 and 2.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_norm(in_channels, out_channels), nn.ReLU(inplace=True), conv_norm(out_channels, out_channels)
        )
        self.shortcut = nn.Identity() if in_channels == out_channels else conv_norm(in_channels, out_channels, 1)

    def forward(self, maps_nchw: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels, h, w)."""
        return torch.relu(self.body(maps_nchw) + self.shortcut(maps_nchw))


def se_bottleneck(in_channels: int, out_channels: int) -> nn.Sequential:
    """A plain block whose channels are then re-weighted by squeeze-and-excitation."""
    return nn.Sequential(plain_block(in_channels, out_channels), squeeze_excitation(out_channels))


def transposed_up(in_channels: int, out_channels: int) -> nn.Module:
    """Learned doubling: transposed convolution 2x2 of stride 2. No bias: a convolution and a batch norm follow."""
    return nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2, bias=False)


def bilinear_up(in_channels: int, out_channels: int) -> nn.Module:
    """Smooth doubling without checkerboards: a 1x1 convolution, then bilinear interpolation.

    The two are linear and commute; the convolution comes first since it then sees a quarter of the pixels.
    """
    conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
    return nn.Sequential(conv, nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))


BLOCKS: dict[str, Builder] = {"plain": plain_block, "residual": ResidualBlock}
BOTTLENECKS: dict[str, Builder] = {"plain": plain_block, "se": se_bottleneck, "residual": ResidualBlock}
UPS: dict[str, Builder] = {"transpose": transposed_up, "bilinear": bilinear_up}


def init_he(network: nn.Module) -> None:
    """Draw every convolution's weight from N(0, 2 / fan_in); biases start at 0.

    A transposed convolution of stride = kernel reaches each output pixel by one tap, so that its fan-in is its
    number of input channels, which torch's own rule does not know; no ReLU follows it, hence N(0, 1 / fan_in).

    Reference:
        He et al., Delving Deep into Rectifiers, 2015, equation 10.
    """
    for module in network.modules():
        if isinstance(module, nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=module.in_channels**-0.5)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)

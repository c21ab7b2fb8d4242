"""Convolution blocks of the U-Net family by name.

``BLOCKS`` maps a name to ``builder(in_channels, out_channels, norm)``; the module that it builds keeps the size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from ensemble.architectures.attention import squeeze_excitation
from ensemble.architectures.norms import Norm, conv_norm

Block = Literal["plain", "residual", "se-residual", "convnext"]
Builder = Callable[[int, int, Norm], nn.Module]


def plain_block(in_channels: int, out_channels: int, norm: Norm = "batch") -> nn.Sequential:
    """Return two convolutions 3x3, each followed by a norm and a ReLU.

    Reference:
        Ronneberger et al., U-Net, 2015, section 2, with the batch norm of Ioffe and Szegedy, 2015.
    """
    return nn.Sequential(
        conv_norm(in_channels, out_channels, norm=norm),
        nn.ReLU(inplace=True),
        conv_norm(out_channels, out_channels, norm=norm),
        nn.ReLU(inplace=True),
    )


class ResidualBlock(nn.Module):
    """Compute ``relu(N(conv(relu(N(conv(x))))) + s(x))``; s is the identity, or a 1x1 projection if channels change.

    Args:
        in_channels: channels of x.
        out_channels: channels of the output.
        norm: N, a name of `NORMS`.
        se: whether squeeze-and-excitation weighs the channels of the convolved branch before the sum.

    Reference:
        He et al., Deep Residual Learning for Image Recognition, 2016, equations 1 and 2; with ``se``
        Hu et al., Squeeze-and-Excitation Networks, 2018, figure 3.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: Norm = "batch", *, se: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_norm(in_channels, out_channels, norm=norm),
            nn.ReLU(inplace=True),
            conv_norm(out_channels, out_channels, norm=norm),
        )
        if se:
            self.body.append(squeeze_excitation(out_channels))
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else conv_norm(in_channels, out_channels, 1, norm=norm)

    def forward(self, maps_nchw: Tensor) -> Tensor:
        """Map (n, in_channels, h, w) to (n, out_channels, h, w)."""
        return torch.relu(self.body(maps_nchw) + self.shortcut(maps_nchw))


def se_residual_block(in_channels: int, out_channels: int, norm: Norm = "batch") -> ResidualBlock:
    """Return a `ResidualBlock` with squeeze-and-excitation."""
    return ResidualBlock(in_channels, out_channels, norm, se=True)


class ConvNeXtBlock(nn.Module):
    """Compute ``y + g * W_2 gelu(W_1 LN(dw(y)))`` with ``y = s(x)``.

    s is the identity, or a 1x1 projection with a norm if channels change; dw is a depthwise convolution 7x7; LN is the
    layer norm over channels; W_1 and W_2 are 1x1 convolutions to 4 times the channels and back; g is one scale per
    channel.

    g starts at 0.1. The paper's 1e-6 is for networks of a hundred layers (Touvron et al., CaiT, 2021, table 1). g is
    cast to the type of the maps; otherwise one bfloat16 block would make all maps after it float32.

    Args:
        in_channels: channels of x.
        out_channels: channels of the output.
        norm: norm of the projection, a name of `NORMS`; the block itself uses its layer norm.

    Reference:
        Liu et al., A ConvNet for the 2020s, 2022, figure 4.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: Norm = "batch") -> None:
        super().__init__()
        same = in_channels == out_channels
        self.project = nn.Identity() if same else conv_norm(in_channels, out_channels, 1, norm=norm)
        self.depthwise = nn.Conv2d(out_channels, out_channels, 7, padding=3, groups=out_channels)
        self.norm = nn.LayerNorm(out_channels, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Conv2d(out_channels, 4 * out_channels, 1), nn.GELU(), nn.Conv2d(4 * out_channels, out_channels, 1)
        )
        self.scale = nn.Parameter(torch.full((out_channels, 1, 1), 0.1))

    def forward(self, maps_nchw: Tensor) -> Tensor:
        """Map (n, in_channels, h, w) to (n, out_channels, h, w)."""
        maps_nchw = self.project(maps_nchw)
        normed_nhwc = self.norm(self.depthwise(maps_nchw).permute(0, 2, 3, 1))  # no copy in channels-last memory
        change_nchw = self.mlp(normed_nhwc.permute(0, 3, 1, 2))
        return maps_nchw + self.scale.to(change_nchw.dtype) * change_nchw


BLOCKS: dict[str, Builder] = {
    "plain": plain_block,
    "residual": ResidualBlock,
    "se-residual": se_residual_block,
    "convnext": ConvNeXtBlock,
}

"""Bottlenecks of the U-Net family by name: the block of the deepest maps, where the whole image is in sight.

``BOTTLENECKS`` maps a name to ``builder(in_channels, out_channels, norm)``; the module that it builds keeps the size.
Every block can be a bottleneck; the others here make sense only at the bottom. They work on maps of any size, 1x1 too.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ensemble.architectures.attention import squeeze_excitation
from ensemble.architectures.blocks import BLOCKS, Builder, plain_block
from ensemble.architectures.norms import Norm, conv_norm, conv_norm_relu

Bottleneck = Literal["plain", "residual", "se-residual", "convnext", "se", "aspp", "ppm", "transformer"]


def se_bottleneck(in_channels: int, out_channels: int, norm: Norm = "batch") -> nn.Sequential:
    """Return a plain block with squeeze-and-excitation of its output."""
    return nn.Sequential(plain_block(in_channels, out_channels, norm), squeeze_excitation(out_channels))


class AtrousPyramid(nn.Module):
    """Join a 1x1 convolution, 3x3 convolutions of several dilations and the image's mean (ASPP).

    ``out = relu(N(W [b_1(x), b_2(x), ..., relu(W_0 mean_hw(x))]))``

    with ``b_i`` a convolution, norm and ReLU, each to ``out_channels``. The mean has no norm, because a norm over a
    batch of two would turn every channel into -1 and 1.

    Args:
        in_channels: channels of x.
        out_channels: channels of each branch and of the output.
        norm: N, a name of `NORMS`.
        rates: dilations in pixels of the deepest map; small, because that map has 4x8 pixels here and 33x33 in the
            paper.

    Reference:
        Chen et al., Rethinking Atrous Convolution for Semantic Image Segmentation, 2017, section 3.3.
    """

    def __init__(
        self, in_channels: int, out_channels: int, norm: Norm = "batch", *, rates: Sequence[int] = (1, 2, 4)
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [
                conv_norm_relu(in_channels, out_channels, 1, norm=norm),
                *(conv_norm_relu(in_channels, out_channels, norm=norm, dilation=rate) for rate in rates),
            ]
        )
        self.mean = conv_norm_relu(in_channels, out_channels, 1, norm="none")
        self.project = conv_norm_relu((2 + len(rates)) * out_channels, out_channels, 1, norm=norm)

    def forward(self, maps_nchw: Tensor) -> Tensor:
        """Map (n, in_channels, h, w) to (n, out_channels, h, w)."""
        mean_nchw = self.mean(maps_nchw.mean((2, 3), keepdim=True)).expand(-1, -1, *maps_nchw.shape[2:])
        return self.project(torch.cat([*(branch(maps_nchw) for branch in self.branches), mean_nchw], dim=1))


class PoolingPyramid(nn.Module):
    """Join the maps with their averages over grids of several sizes (PPM).

    ``out = relu(N(W [x, up(b_1(pool_1(x))), up(b_2(pool_2(x))), ...]))``

    with ``pool_k`` the means of k x k cells, ``b_k`` a 1x1 convolution to a quarter of the channels, a norm (except for
    the single cell of k = 1) and a ReLU, and W of 3x3.

    Args:
        in_channels: channels of x.
        out_channels: channels of the output.
        norm: N, a name of `NORMS`.
        bins: the k; a grid finer than the map repeats its pixels.

    Reference:
        Zhao et al., Pyramid Scene Parsing Network, 2017, section 3.2.
    """

    def __init__(
        self, in_channels: int, out_channels: int, norm: Norm = "batch", *, bins: Sequence[int] = (1, 2, 3, 6)
    ) -> None:
        super().__init__()
        inner = max(1, in_channels // len(bins))
        self.bins = tuple(bins)
        self.branches = nn.ModuleList(
            conv_norm_relu(in_channels, inner, 1, norm="none" if k == 1 else norm) for k in self.bins
        )
        self.project = conv_norm_relu(in_channels + len(bins) * inner, out_channels, norm=norm)

    def forward(self, maps_nchw: Tensor) -> Tensor:
        """Map (n, in_channels, h, w) to (n, out_channels, h, w)."""
        size = maps_nchw.shape[2:]
        parts = [maps_nchw]
        for k, branch in zip(self.bins, self.branches, strict=True):
            pooled_nckk = branch(F.adaptive_avg_pool2d(maps_nchw, k))
            parts.append(F.interpolate(pooled_nckk, size=size, mode="bilinear", align_corners=True))
        return self.project(torch.cat(parts, dim=1))


class TransformerBottleneck(nn.Module):
    """Let every pixel of the deepest map attend to every other one: a 1x1 convolution, then two transformer layers.

    ``z = p + dw(p)`` with ``p = N(W x)``, then twice ``z += attention(LN(z))``, ``z += W_2 gelu(W_1 LN(z))``, and at
    the end ``out = LN(z)``. dw is a depthwise convolution 3x3: it sees the border, so it encodes where a pixel is, for
    any size. There are up to 8 heads, twice the channels between W_1 and W_2, and no dropout.

    Args:
        in_channels: channels of x.
        out_channels: channels of the output.
        norm: N, a name of `NORMS`.

    Reference:
        Chen et al., TransUNet: Transformers Make Strong Encoders for Medical Image Segmentation, 2021, section 3.1;
        Chu et al., Conditional Positional Encodings for Vision Transformers, 2021, section 3.2.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: Norm = "batch") -> None:
        super().__init__()
        self.project = conv_norm(in_channels, out_channels, 1, norm=norm)
        self.position = nn.Conv2d(out_channels, out_channels, 3, padding=1, groups=out_channels)
        # nn.TransformerEncoder would copy one layer, and all layers would start with the same weights.
        self.layers = nn.Sequential(*(_transformer_layer(out_channels) for _ in range(2)))
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, maps_nchw: Tensor) -> Tensor:
        """Map (n, in_channels, h, w) to (n, out_channels, h, w)."""
        maps_nchw = self.project(maps_nchw)
        maps_nchw = maps_nchw + self.position(maps_nchw)
        tokens_npc = maps_nchw.flatten(2).transpose(1, 2)  # p pixels; no copy in channels-last memory
        tokens_npc = self.norm(self.layers(tokens_npc))
        return tokens_npc.transpose(1, 2).unflatten(2, maps_nchw.shape[2:])


def _transformer_layer(channels: int) -> nn.Module:
    return nn.TransformerEncoderLayer(
        channels,
        gcd(8, channels),
        2 * channels,
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )


BOTTLENECKS: dict[str, Builder] = {
    **BLOCKS,
    "se": se_bottleneck,
    "aspp": AtrousPyramid,
    "ppm": PoolingPyramid,
    "transformer": TransformerBottleneck,
}

"""The U-Net family as one configurable network; the named presets are in ``unet_family``."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ensemble.architectures.attention import SKIP_ATTENTIONS
from ensemble.architectures.blocks import BLOCKS, BOTTLENECKS, UPS, init_he
from ensemble.architectures.checks import check_channels, check_rate, check_whole
from ensemble.architectures.padding import Padded
from ensemble.errors import UnknownName

T = TypeVar("T")
MAX_DEPTH = 5  # 32 pixels are then one


class UNet(nn.Module):
    """Encoder, bottleneck and decoder joined by skips at every size.

    Level i of ``depth`` levels has ``filters * 2**i`` channels at 1 / 2**i of the size, the bottleneck
    ``filters * 2**depth``. The decoder doubles the size, passes the skip through its attention, concatenates
    and convolves. Sides must be multiples of ``2**depth``: `unet` wraps the network for all others.

    Args:
        in_channels: channels of the images.
        classes: channels of the logits.
        filters: channels at full size, at least 1.
        depth: halvings of the size, 1 to 5.
        block: kind of encoder and decoder block, a name of `BLOCKS`.
        attention: what happens to a skip, a name of `SKIP_ATTENTIONS`.
        bottleneck: kind of the deepest block, a name of `BOTTLENECKS`.
        dropout: share of the bottleneck's channels that is set to zero in training, in [0, 1).
        up: kind of up-sampling, a name of `UPS`.

    Raises:
        EnsError: for a number out of its range.
        UnknownName: for a kind that is not known.

    Reference:
        Ronneberger et al., U-Net: Convolutional Networks for Biomedical Image Segmentation, 2015.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        filters: int = 32,
        depth: int = 4,
        block: str = "plain",
        attention: str = "none",
        bottleneck: str = "plain",
        dropout: float = 0.0,
        up: str = "transpose",
    ) -> None:
        super().__init__()
        check_channels(in_channels, classes)
        check_whole("filters", filters, 1)
        check_whole("depth", depth, 1, MAX_DEPTH)
        check_rate("dropout", dropout)
        build_block, build_up = _kind("block", block, BLOCKS), _kind("up", up, UPS)
        build_attention = _kind("attention", attention, SKIP_ATTENTIONS)
        widths = [filters * 2**level for level in range(depth + 1)]
        pairs = list(pairwise(widths))  # (this level, the level below)
        self.encoder = nn.ModuleList(
            build_block(before, width) for before, width in zip([in_channels, *widths[:-2]], widths[:-1], strict=True)
        )
        self.bottleneck = _kind("bottleneck", bottleneck, BOTTLENECKS)(*pairs[-1])
        self.dropout = nn.Dropout2d(dropout) if dropout else nn.Identity()
        self.ups = nn.ModuleList(build_up(below, width) for width, below in pairs)
        self.attentions = nn.ModuleList(build_attention(width, width) for width, _ in pairs)
        self.decoder = nn.ModuleList(build_block(2 * width, width) for width, _ in pairs)
        self.head = nn.Conv2d(filters, classes, 1)
        init_he(self)

    def forward(self, images_nchw: Tensor) -> Tensor:
        """(n, in_channels, h, w), sides multiples of 2**depth, to logits (n, classes, h, w)."""
        maps_nchw, skips = images_nchw, list[Tensor]()
        for block in self.encoder:
            maps_nchw = block(maps_nchw)
            skips.append(maps_nchw)
            maps_nchw = F.max_pool2d(maps_nchw, 2)
        maps_nchw = self.dropout(self.bottleneck(maps_nchw))
        for level in reversed(range(len(skips))):
            maps_nchw = self.ups[level](maps_nchw)
            skip_nchw = self.attentions[level](skips[level], maps_nchw)
            maps_nchw = self.decoder[level](torch.cat([skip_nchw, maps_nchw], dim=1))
        return self.head(maps_nchw)


def unet(
    in_channels: int,
    classes: int,
    *,
    filters: int = 32,
    depth: int = 4,
    block: str = "plain",
    attention: str = "none",
    bottleneck: str = "plain",
    dropout: float = 0.0,
    up: str = "transpose",
) -> nn.Module:
    """`UNet` for images of any side of 32 pixels or more; arguments as there."""
    network = UNet(
        in_channels,
        classes,
        filters=filters,
        depth=depth,
        block=block,
        attention=attention,
        bottleneck=bottleneck,
        dropout=dropout,
        up=up,
    )
    return Padded(network, in_channels, 2**depth)


def _kind(option: str, name: str, builders: Mapping[str, T]) -> T:
    if name not in builders:
        raise UnknownName(f"{option} of the U-Net", name, builders)
    return builders[name]

"""The U-Net as one configurable network; ``unet_family`` holds its presets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Annotated, TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from ensemble.architectures.attention import SKIP_ATTENTIONS, Attention
from ensemble.architectures.blocks import BLOCKS, Block
from ensemble.architectures.bottlenecks import BOTTLENECKS, Bottleneck
from ensemble.architectures.checks import check_channels, check_rate, check_whole
from ensemble.architectures.layout import concatenate
from ensemble.architectures.norms import NORMS, Norm
from ensemble.architectures.upsampling import UPS, Up, init_he
from ensemble.core.errors import UnknownName
from ensemble.core.registry import Between

T = TypeVar("T")
MAX_DEPTH = 5  # halvings; 32 pixels then become one


class UNet(nn.Module):
    """Encoder, bottleneck and decoder, joined by skips at every size.

    Level i of the ``depth`` levels has ``filters * 2**i`` channels at 1 / 2**i of the size; the bottleneck has
    ``filters * 2**depth``. The decoder doubles the size, passes the skip through its attention, concatenates both
    and convolves. Sides must be multiples of ``multiple = 2**depth``; the presets pad images of other sizes.

    Args:
        in_channels: channels of the images.
        classes: channels of the logits.
        filters: channels at full size, at least 1; doubled at each level.
        depth: halvings of the size, 1 to 5.
        block: kind of encoder and decoder block, a name of `BLOCKS`.
        attention: what happens to a skip, a name of `SKIP_ATTENTIONS`.
        bottleneck: kind of the deepest block, a name of `BOTTLENECKS`.
        up: kind of up-sampling, a name of `UPS`.
        norm: kind of norm after the convolutions, a name of `NORMS`; "group" and "instance" suit tiny batches.
        dropout: share of the bottleneck's channels that is set to zero in training, in [0, 1).
        deep_supervision: whether every decoder level but the last gets a 1x1 convolution to logits. Only ``supervised``
            computes these logits.

    Raises:
        EnsError: when a number is out of its range.
        UnknownName: when a kind is not known.

    Reference:
        Ronneberger et al., U-Net: Convolutional Networks for Biomedical Image Segmentation, 2015; deep supervision as
        in Isensee et al., nnU-Net, 2021.

    >>> import torch
    >>> network = UNet(1, 4, filters=2, depth=2, deep_supervision=True)
    >>> network(torch.zeros(2, 1, 32, 64)).shape
    torch.Size([2, 4, 32, 64])
    >>> [tuple(logits.shape) for logits in network.supervised(torch.zeros(2, 1, 32, 64))]
    [(2, 4, 32, 64), (2, 4, 32, 64)]
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        filters: Annotated[int, Between(8, 32, log=True)] = 16,
        depth: Annotated[int, Between(2, 4)] = 4,
        block: Block = "plain",
        attention: Attention = "none",
        bottleneck: Bottleneck = "plain",
        up: Up = "transpose",
        norm: Norm = "batch",
        dropout: Annotated[float, Between(0.0, 0.5)] = 0.0,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        check_channels(in_channels, classes)
        check_whole("filters", filters, 1)
        check_whole("depth", depth, 1, MAX_DEPTH)
        check_rate("dropout", dropout)
        build_block, build_up = _kind("block", block, BLOCKS), _kind("up", up, UPS)
        build_attention = _kind("attention", attention, SKIP_ATTENTIONS)
        build_bottleneck = _kind("bottleneck", bottleneck, BOTTLENECKS)
        _kind("norm", norm, NORMS)
        widths = [filters * 2**level for level in range(depth + 1)]
        pairs = list(pairwise(widths))  # (this level, the level below)
        self.multiple = 2**depth
        self.encoder = nn.ModuleList(build_block(*pair, norm) for pair in pairwise([in_channels, *widths[:-1]]))
        self.bottleneck = build_bottleneck(*pairs[-1], norm)
        self.dropout = nn.Dropout2d(dropout) if dropout else nn.Identity()
        self.ups = nn.ModuleList(build_up(below, width) for width, below in pairs)
        self.attentions = nn.ModuleList(build_attention(width, width, norm) for width, _ in pairs)
        self.decoder = nn.ModuleList(build_block(2 * width, width, norm) for width, _ in pairs)
        self.head = nn.Conv2d(filters, classes, 1)
        sides = widths[1:-1] if deep_supervision else []
        self.side_heads = nn.ModuleList(nn.Conv2d(width, classes, 1) for width in sides)
        init_he(self)

    def forward(self, images_nchw: Tensor) -> Tensor:
        """Map images (n, in_channels, h, w), sides multiples of 2**depth, to logits (n, classes, h, w)."""
        return self.head(self._decoded(images_nchw)[0])

    @property
    def supervised(self) -> Callable[[Tensor], list[Tensor]]:
        """Function from images to the logits of all decoder levels, each (n, classes, h, w), the finest first.

        Raises:
            AttributeError: when only the last level has logits, so that ``hasattr`` answers False.
        """
        if not self.side_heads:
            raise AttributeError("supervised")
        return self._supervised

    def _supervised(self, images_nchw: Tensor) -> list[Tensor]:
        finest_nchw, *levels = self._decoded(images_nchw)
        sides = [head(maps_nchw) for head, maps_nchw in zip(self.side_heads, levels, strict=True)]
        size = images_nchw.shape[2:]
        return [self.head(finest_nchw), *(F.interpolate(side, size=size, mode="bilinear") for side in sides)]

    def _decoded(self, images_nchw: Tensor) -> list[Tensor]:
        """Return the maps of every decoder level, the finest first."""
        maps_nchw, skips = images_nchw, list[Tensor]()
        for block in self.encoder:
            maps_nchw = block(maps_nchw)
            skips.append(maps_nchw)
            maps_nchw = F.max_pool2d(maps_nchw, 2)
        maps_nchw, levels = self.dropout(self.bottleneck(maps_nchw)), list[Tensor]()
        for level in reversed(range(len(skips))):
            maps_nchw = self.ups[level](maps_nchw)
            skip_nchw = self.attentions[level](skips[level], maps_nchw)
            maps_nchw = self.decoder[level](concatenate(skip_nchw, maps_nchw))
            levels.append(maps_nchw)
        return levels[::-1]


def _kind(option: str, name: str, builders: Mapping[str, T]) -> T:
    if name not in builders:
        raise UnknownName(option, name, builders, where="of the U-Net")
    return builders[name]

"""Make a network that needs sides of certain multiples accept any image size: pad, run, crop the logits.

In an export (``torch.export``) the size of the images is a symbol; then the same is done without a decision about it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ensemble.core.errors import EnsError

MIN_SIDE = 32  # pixels; below it the deepest maps are smaller than one pixel


def pad_to_multiple(images_nchw: Tensor, multiple: int, least: int = 1) -> Tensor:
    """Pad right and bottom with the border's values until both sides are multiples, and have ``least`` pixels.

    ``h' = ceil(max(h, least) / multiple) * multiple``, and the same for ``w``. If nothing is to be added, the tensor is
    returned as it is. Border values work for every size, whereas reflection needs sides larger than the pad; and unlike
    zeros they make no edge that the network would see.

    Args:
        images_nchw: (n, c, h, w), any float type.
        multiple: pixels, at least 1.
        least: pixels.

    Returns:
        (n, c, h', w') with ``[..., :h, :w]`` equal to the input.
    """
    height, width = images_nchw.shape[-2:]
    bottom, right = (-(-max(side, least) // multiple) * multiple - side for side in (height, width))
    if not bottom and not right:
        return images_nchw
    return F.pad(images_nchw, (0, right, 0, bottom), mode="replicate")


def _padded_for_any_size(images_nchw: Tensor, multiple: int, least: int) -> Tensor:
    """Return the same as `pad_to_multiple`, in operations that a graph for images of any size can hold.

    Row i of the result is row min(i, h - 1) of the images, so that no decision depends on their size.
    """
    for axis in (2, 3):
        side = images_nchw.shape[axis]
        padded = (torch.sym_max(side, least) + multiple - 1) // multiple * multiple
        places = torch.arange(padded, device=images_nchw.device).clamp(max=side - 1)
        images_nchw = images_nchw.index_select(axis, places)
    return images_nchw


class Padded(nn.Module):
    """Wrap a network that needs sides divisible by ``multiple``, so that it takes images of any size.

    ``logits = network(pad(images))[..., :h, :w]``

    Args:
        network: maps (n, in_channels, h', w') to (n, classes, h', w') for h', w' divisible by ``multiple``.
        in_channels: channels of the images; they are checked here because torch's own message names no argument.
        multiple: pixels.

    Raises:
        EnsError: in ``forward`` and ``supervised``, when the images have another number of dimensions or channels.
    """

    def __init__(self, network: nn.Module, in_channels: int, multiple: int) -> None:
        super().__init__()
        self.network = network
        self.in_channels = in_channels
        self.multiple = multiple

    def forward(self, images_nchw: Tensor) -> Tensor:
        """Map images (n, in_channels, h, w) to logits (n, classes, h, w)."""
        return _crop(self.network(self._pad(images_nchw)), images_nchw)

    @property
    def supervised(self) -> Callable[[Tensor], list[Tensor]]:
        """Function from images to all logits of the network, each (n, classes, h, w), the final ones first.

        Raises:
            AttributeError: when the network has no ``supervised``, so that ``hasattr`` answers False.
        """
        inner = cast("Callable[[Tensor], list[Tensor]]", self.network.supervised)

        def supervised(images_nchw: Tensor) -> list[Tensor]:
            return [_crop(logits_nchw, images_nchw) for logits_nchw in inner(self._pad(images_nchw))]

        return supervised

    def _pad(self, images_nchw: Tensor) -> Tensor:
        _check_images(images_nchw, self.in_channels)
        pad = _padded_for_any_size if torch.compiler.is_exporting() else pad_to_multiple
        return pad(images_nchw, self.multiple, MIN_SIDE)


def _crop(logits_nchw: Tensor, images_nchw: Tensor) -> Tensor:
    height, width = images_nchw.shape[-2:]
    if not torch.compiler.is_exporting() and logits_nchw.shape[-2:] == (height, width):
        return logits_nchw
    return logits_nchw[..., :height, :width]


def _check_images(images_nchw: Tensor, in_channels: int) -> None:
    shape = tuple(images_nchw.shape)
    if len(shape) != 4 or shape[1] != in_channels:
        raise EnsError(
            f"expected images of shape (n, {in_channels}, h, w), got {shape}; "
            f"reshape them or build the network with another in_channels"
        )

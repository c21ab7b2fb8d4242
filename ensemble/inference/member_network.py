"""One member ready to predict: the networks of its folds, and what they say about native images and tiles of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ensemble.combining.alignment import select
from ensemble.config import DataFacts, MemberSettings, Tta
from ensemble.core.cache import Cache
from ensemble.core.files import digest
from ensemble.inference.allocator import release_memory
from ensemble.inference.batching import BATCH_PIXELS
from ensemble.inference.low_resolution import LowResolution, Rows, shrunk
from ensemble.inference.network import Network, infer, load_networks, scored
from ensemble.inference.receptive_field import VERSION, receptive_radius
from ensemble.inference.resizing import Resizing
from ensemble.inference.tiles import GRID, Tiling, Window, predict_strips
from ensemble.runs.member import Member
from ensemble.runs.status import digests_of


@dataclass(frozen=True, eq=False)
class MemberNetwork:
    """The networks of a member's folds: ``of(images) -> probabilities``.

    Attributes:
        networks: the networks, ready for inference, whose mean is predicted.
        settings: settings of the member; its test-time augmentation is used.
        facts: facts about its training data.
        device: device of the networks.
        channels: which scored classes are returned, in which order; None for all.
        all_outputs: whether all outputs are returned, with that of the background, if there is one.
        key: digest of what decides how far the networks look, under which it is remembered; "" to measure it anew.
    """

    networks: Sequence[Network]
    settings: MemberSettings
    facts: DataFacts
    device: str
    channels: Sequence[int] | None = None
    all_outputs: bool = False
    key: str = ""

    @classmethod
    def of_fold(cls, network: Network, settings: MemberSettings, facts: DataFacts, fold: int) -> MemberNetwork:
        """Return the network of one fold in training, with all its outputs."""
        key = digest(settings.content_hash(facts.data_hash), str(fold))
        return cls((network,), settings, facts, settings.device, all_outputs=True, key=key)

    @property
    def resizing(self) -> Resizing:
        """What the networks see of an image."""
        return self.networks[0].resizing

    @cached_property
    def reach(self) -> int | None:
        """Radius of the receptive field in native pixels; None if the networks look at whole images."""
        if self.resizing.size is not None:
            return None
        cache = Cache("receptive-radius", VERSION, self.key) if self.key else None
        kept = cache.read() if cache else None
        if kept is not None:
            return int(kept) if kept else None
        reach = receptive_radius(self.networks[0], self.facts.bands, self.device, self.resizing.grid)
        release_memory(self.device)
        if cache:
            cache.write(b"" if reach is None else str(reach).encode())
        return reach

    @cached_property
    def side(self) -> int:
        """Side of the tiles of a member that looks at whole images: what it saw in training, a multiple of its grid."""
        grid = self.resizing.grid
        return max(2 * GRID, grid, min(self.settings.window(self.facts)) // grid * grid)

    def whole(self, images_nhwc: NDArray[Any]) -> NDArray[np.float32]:
        """Return the probabilities (n, k, h, w) of images that are not cut: the mean over the folds."""
        each = [infer(network, images_nhwc, self.settings, self.device) for network in self.networks]
        if not self.all_outputs:
            each = [scored(outputs, len(self.facts.classes)) for outputs in each]
        probs = (each[0] if len(each) == 1 else torch.stack(each).mean(0)).numpy()
        return probs if self.channels is None else select(probs, list(self.channels))

    def of(self, images_nhwc: NDArray[Any], *, tiles: bool = False) -> NDArray[np.float32]:
        """Return the probabilities (n, k, h, w) of images of one size.

        A network that looks at whole images sees them in tiles of the size that it was trained on, if this was a crop
        or if the images are tiles of a larger image.

        Args:
            images_nhwc: images as data sets give them: uint8, or float32 in 0..1.
            tiles: whether they are tiles of a larger image.
        """
        if not self._cuts(images_nhwc.shape[1:3], tiles=tiles):
            return self.whole(images_nhwc)
        return np.stack([self._in_tiles(image) for image in images_nhwc])

    def seen(self, size: Sequence[int], *, tiles: bool = False) -> int:
        """Return how many pixels the networks see of an image, or of a tile of one: tiles overlap."""
        if self.resizing.size:
            return math.prod(self.settings.window(self.facts))  # as many for every image
        if not self._cuts(size, tiles=tiles):
            return math.prod(size)
        return self._tiling.pixels(size)

    def _cuts(self, size: Sequence[int], *, tiles: bool) -> bool:
        """Return whether images of this height and width are cut into tiles as large as what was trained on."""
        cropped = tiles or self.settings.crop is not None
        return cropped and not self.resizing.size and self.side < max(size) and self.reach is None

    @property
    def _tiling(self) -> Tiling:
        return Tiling(self.side, 0, grid=self.resizing.grid)

    def _in_tiles(self, image_hwc: NDArray[Any]) -> NDArray[np.float32]:
        def predict(windows: Sequence[Window]) -> NDArray[np.float32]:
            return self.whole(np.stack([image_hwc[slice(*rows), slice(*columns)] for rows, columns in windows]))

        height, width = image_hwc.shape[:2]
        strips = predict_strips(predict, height, width, self._tiling, max(1, BATCH_PIXELS // self.side**2))
        return np.concatenate([strip for _, strip in strips], axis=1)

    def low_resolution(self, read: Rows, native: tuple[int, int]) -> LowResolution:
        """Return the probabilities of a large image that the networks see as a whole, at the size that they see.

        Args:
            read: returns rows of the image; it is read once, block by block.
            native: its height and width.
        """
        small = shrunk(read, native, self.resizing.fitted(native))
        return LowResolution.of(self.whole(small[None])[0], native)


def load_member(member: Member, device: str, tta: Tta | None, values: Sequence[int]) -> MemberNetwork:
    """Return a member with its networks, ready to predict.

    Args:
        member: a finished member.
        device: device of its networks.
        tta: test-time augmentation instead of the one that it was trained with.
        values: ids of the classes that are returned, in this order.

    Raises:
        EnsError: the member has no network, or its weights are damaged.
    """
    settings = member.settings.model_copy(update={} if tta is None else {"tta": tta})
    channels = [member.facts.values.index(value) for value in values]
    key = digest(*sorted(digests_of(member.status).values()))
    return MemberNetwork(load_networks(member, device), settings, member.facts, device, channels, key=key)

"""Load members together, see new images as they see them, and predict where they disagree, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.alignment import shared_classes
from ensemble.combining.pool import Pool
from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.data.groups import perceptual_hash
from ensemble.evaluation.strips import thinned
from ensemble.inference.batching import is_tiled
from ensemble.inference.image_rows import BLOCK, open_rows
from ensemble.inference.image_sources import Images
from ensemble.inference.large_files import strips_of
from ensemble.inference.pooled_networks import PooledNetworks
from ensemble.inference.predictor import Predictor
from ensemble.inference.training_copies import digest_of_rows
from ensemble.inference.uncertainty_maps import predict_with_information, with_information
from ensemble.runs.member import Member


def load_members(members: Sequence[Member], device: str = "cpu") -> Predictor:
    """Load members as one model, in which all count alike; they need not be those of an ensemble, or of the same data.

    Args:
        members: the members.
        device: device of the networks.

    Raises:
        EnsError: a member has no network, or other classes, bands or units than the first one.
    """
    first, (classes, _) = members[0].facts, shared_classes(members)
    for member in members[1:]:
        for what, mine, other in (
            ("bands", member.facts.bands, first.bands),
            ("raw values that become 0 and 1", member.facts.span, first.span),
        ):
            if mine != other:
                raise EnsError(
                    f"expected members whose images have the same {what}, got {other} in {members[0].name} and {mine}"
                    f" in {member.name}; choose members of like images"
                )
    from ensemble.inference.member_network import load_member  # noqa: PLC0415  (torch takes two seconds)

    values = tuple(first.values[first.classes.index(name)] for name in classes)
    pool = Pool.uniform(len(members), len(classes))
    networks = PooledNetworks([load_member(member, device, None, values) for member in members], pool)
    return Predictor("the members", classes, values, tuple(members), networks, pool)


class Look(NamedTuple):
    """What is remembered of an image.

    Attributes:
        hash: its perceptual hash.
        digest: digest of its pixels, as `pixel_digest` computes it.
        highest: its highest pixel, as stored.
    """

    hash: np.uint64
    digest: str
    highest: float


class Disagreement(NamedTuple):
    """How much the members disagree about an image.

    Attributes:
        row: the image.
        mean: mean mutual information over its pixels, in nats.
        map_hw: the mutual information of each pixel; of a large image some rows and columns, see `thinned`.
    """

    row: int
    mean: float
    map_hw: NDArray[np.float32]


@dataclass(frozen=True)
class MemberView:
    """Images with the bands and in the units of the members; each is read some rows at a time where its file allows it.

    Attributes:
        images: the images.
        predictor: the members.
    """

    images: Images
    predictor: Predictor

    def look(self, row: int) -> Look:
        """Return what is remembered of an image.

        Raises:
            EnsError: the image cannot be read, or its pixels do not fit.
        """
        blocks, highest = self._blocks(row)
        small = list[NDArray[Any]]()

        def passing() -> Iterator[NDArray[Any]]:
            for block, thin in blocks:
                small.append(thin)
                yield block

        found = digest_of_rows(passing())
        return Look(perceptual_hash(np.concatenate(small)), found, highest)

    def picture(self, row: int, *, own_bands: bool = False) -> NDArray[Any]:
        """Return an image (h, w, bands); of a large image some rows and columns, see `thinned`.

        Args:
            row: which image.
            own_bands: keep the colours of an image that the members see in grey.
        """
        bands = self.images.head(row).bands if own_bands else None
        return np.concatenate([thin for _, thin in self._blocks(row, bands)[0]])

    def _blocks(self, row: int, bands: int | None = None) -> tuple[Iterator[tuple[NDArray[Any], NDArray[Any]]], float]:
        """Return blocks of rows, whole and thinned, and the highest pixel; by default with the bands of the members."""
        height, facts = self.images.head(row).height, self.predictor.facts
        read, highest = open_rows(self.images, row).checked(height, bands or facts.bands, facts.span, no_progress)

        def blocks() -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
            for first in range(0, height, BLOCK):
                block_hwc = read(first, min(first + BLOCK, height))
                thin_chw = thinned(np.moveaxis(block_hwc, -1, 0), height, first)
                yield block_hwc, np.moveaxis(thin_chw, 0, -1)

        return blocks(), highest


def disagreements(
    predictor: Predictor, images: Images, progress: Progress, wanted: Callable[[int], bool]
) -> Iterator[Disagreement]:
    """Predict images once and yield how much the members disagree about each: first large ones, strip after strip.

    Args:
        predictor: the members.
        images: the images.
        progress: callback that receives the progress.
        wanted: which images are wanted.

    Raises:
        EnsError: an image does not fit the members.
    """
    heads = [images.head(row) for row in range(len(images.ids))]
    large = [row for row, head in enumerate(heads) if wanted(row) and is_tiled((head.height, head.width))]
    informed = replace(predictor, networks=with_information(predictor.networks))
    for count, row in enumerate(large, 1):
        head, total, parts, top = heads[row], 0.0, list[NDArray[np.float32]](), 0
        for strip_khw in strips_of(informed, images, row, progress):
            total += float(strip_khw[-1].sum(dtype=np.float64))
            parts.append(thinned(strip_khw[-1], head.height, top))
            top += strip_khw.shape[1]
        yield Disagreement(row, total / (head.height * head.width), np.concatenate(parts))
        progress("predicting large images", count, len(large))
    small = {row for row in range(len(heads)) if wanted(row)} - set(large)
    if not small:
        return
    for batch in predict_with_information(predictor, images, progress, small.__contains__, information=True):
        assert batch.information_nhw is not None, "it was asked for"
        for row, map_hw in zip(batch.rows, batch.information_nhw, strict=True):
            if row in small:
                yield Disagreement(row, float(map_hw.mean(dtype=np.float64)), map_hw)

"""Load a member or an ensemble and predict: from Python on arrays, or batch by batch in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ensemble.combining.alignment import select
from ensemble.combining.combiner import Combiner
from ensemble.combining.pool import Pool
from ensemble.combining.serialization import active_members
from ensemble.config import DataFacts, Tta
from ensemble.core.errors import EnsError
from ensemble.core.files import digest
from ensemble.core.palette import class_colours
from ensemble.core.progress import Progress, no_progress
from ensemble.data.formats.image_files import resize
from ensemble.data.formats.pixels import to_unit
from ensemble.inference.bands import with_bands
from ensemble.inference.image_sources import Images
from ensemble.inference.tiles import GRID, Tiling, Window, predict_strips, tiling_for
from ensemble.inference.tta import check_tta
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.folder import find_run
from ensemble.runs.member import Member
from ensemble.runs.status import digests_of, read_status

if TYPE_CHECKING:
    from ensemble.inference.network import Network

BATCH = 32
WHOLE_PIXELS = 1 << 20  # larger images are predicted in tiles
LARGEST_BYTE = 255
BATCH_PIXELS = 1 << 22
SMALLEST = 32  # pixels of a side, which networks that halve images five times need


@dataclass(frozen=True, eq=False)
class Predictor:
    """A member or an ensemble ready to predict: ``predictor(images) -> probabilities``.

    Attributes:
        name: name of the member or ensemble.
        classes: names of the classes, in channel order.
        values: the data set's own id of each class.
        tta: test-time augmentation of every member; None keeps the one that each member was trained with.
        content: digest of all files of the member, or of the ensemble and its members.
    """

    name: str
    classes: tuple[str, ...]
    values: tuple[int, ...]
    members: tuple[Member, ...]
    networks: tuple[tuple[Network, ...], ...]
    pool: Combiner
    device: str
    tta: Tta | None = None
    content: str = ""

    @property
    def digest(self) -> str:
        """Digest of all that decides what is predicted for an image."""
        return digest(self.content, str(self.tta))

    @property
    def facts(self) -> DataFacts:
        """Facts about the training data of the first member."""
        return self.members[0].facts

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Size that images are resized to if the members were trained with ``image_size``, else None."""
        return None

    def __call__(self, images: NDArray[Any], progress: Progress = no_progress) -> NDArray[np.float32]:
        """Return the probabilities of images: (n, classes, h, w), or (classes, h, w) of a single image.

        Args:
            images: (n, h, w) or (n, h, w, bands), or one image (h, w) or (h, w, bands), in the type and range of the
                training images, such as uint8. One band need not be an axis; without it three axes are (n, h, w).
            progress: callback that receives the progress of images that are predicted in tiles.

        Raises:
            EnsError: this is no array, or shape, type, range or number of bands differ from the training images.
        """
        bands = self.facts.bands
        if not isinstance(images, np.ndarray):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise EnsError(
                f"expected a NumPy array of images (n, h, w, {bands}) for {self.name}, got {type(images).__name__};"
                " stack the images with np.stack, or predict files with ensemble.predict"
            )
        if images.ndim == 2 + (bands > 1):
            return self._of_stack(images[None], progress)[0]
        if images.ndim == 3 and bands == 1 and images.shape[2] == 1:
            return self._of_stack(images[None], progress)[0]
        return self._of_stack(images, progress)

    def _of_stack(self, images: NDArray[Any], progress: Progress) -> NDArray[np.float32]:
        bands = self.facts.bands
        stacked = images[..., None] if images.ndim == 3 and bands == 1 else images
        if stacked.ndim != 4 or stacked.shape[3] != bands:
            shape = images.shape[1:] if images.shape[:1] == (1,) and images.ndim == 4 else images.shape
            raise EnsError(f"expected images (n, h, w, {bands}) or (h, w, {bands}) for {self.name}, got {shape}")
        unit = to_unit(stacked, self.facts.span, "the images")
        batches = [self.of_unit(unit[start : start + BATCH], progress) for start in range(0, len(unit), BATCH)]
        return np.concatenate(batches) if batches else np.zeros((0, len(self.classes), *images.shape[1:3]), np.float32)

    def of_unit(self, unit_nhwc: NDArray[np.generic], progress: Progress = no_progress) -> NDArray[np.float32]:
        """Return the probabilities (n, classes, h, w) of images as data sets give them: uint8, or float32 in 0..1.

        They are resized to the members' image size if they have one, and the probabilities are resized back.

        An image that is smaller than networks allow is continued by its last row and column. Images of more than a
        million pixels are predicted in overlapping tiles, see `ensemble.inference.tiles`.
        """
        own, size = unit_nhwc.shape[1:3], self.image_size
        if size is None and min(own) < SMALLEST:
            more = [(0, 0), *((0, max(0, SMALLEST - side)) for side in own), (0, 0)]
            return self.of_unit(np.pad(unit_nhwc, more, mode="edge"), progress)[..., : own[0], : own[1]]
        if size is None and own[0] * own[1] > WHOLE_PIXELS:
            return np.stack([self._in_tiles(image, progress) for image in unit_nhwc])
        fitting = unit_nhwc if size is None else np.stack([resize(image, size, cv2.INTER_AREA) for image in unit_nhwc])
        pooled = self.pool(np.stack([self._of_member(index, fitting) for index in range(len(self.members))]))
        if pooled.shape[2:] == own:
            return pooled
        back = [np.moveaxis(resize(np.moveaxis(p, 0, -1), own, cv2.INTER_LINEAR), -1, 0) for p in pooled]
        return np.stack(back).astype(np.float32)

    def _of_member(self, index: int, unit_nhwc: NDArray[np.generic]) -> NDArray[np.float32]:
        """Return the probabilities (n, classes, h, w) of one member."""
        from ensemble.inference.network import mean_of_folds  # noqa: PLC0415  (torch takes two seconds)

        member, networks = self.members[index], self.networks[index]
        settings = member.settings.model_copy(update={} if self.tta is None else {"tta": self.tta})
        probs = mean_of_folds(networks, unit_nhwc, settings, len(member.facts.classes), self.device)
        return select(probs, [member.facts.values.index(value) for value in self.values])

    @cached_property
    def _reaches(self) -> tuple[int | None, ...]:
        """Radius of the receptive field of each member, None if it looks at whole images."""
        from ensemble.inference.receptive_field import receptive_radius  # noqa: PLC0415  (torch)

        return tuple(receptive_radius(networks[0], self.facts.bands, self.device) for networks in self.networks)

    def _in_tiles(self, unit_hwc: NDArray[np.generic], progress: Progress) -> NDArray[np.float32]:
        """Return the probabilities (classes, h, w) of a large image."""
        height, width = unit_hwc.shape[:2]
        strips = self.strips(lambda first, end: unit_hwc[first:end], height, width, progress)
        return np.concatenate(list(strips), axis=1)

    @cached_property
    def tiling(self) -> Tiling:
        """How large images are cut: so that members of bounded receptive field give what they give for whole images."""
        return tiling_for(max((reach for reach in self._reaches if reach is not None), default=GRID))

    def strips(
        self,
        read: Callable[[int, int], NDArray[np.generic]],
        height: int,
        width: int,
        progress: Progress = no_progress,
        skip: int = 0,
    ) -> Iterator[NDArray[np.float32]]:
        """Yield the probabilities (classes, rows, w) of strips of a large image, from top to bottom.

        A member that looks at whole images predicts, within every tile, tiles of the size that it was trained on.

        Args:
            read: returns the rows (rows, w, bands) from a first one to one after the last, as data sets give them.
            height: rows of the image.
            width: columns of the image.
            progress: callback that receives the progress.
            skip: number of strips at the top that are left out, because they are known.
        """
        across = len(self.tiling.spans(width))
        total, done = len(self.tiling.spans(height)) * across, max(0, skip - 1) * across
        rows_of = lru_cache(maxsize=1)(read)

        def predict(windows: Sequence[Window]) -> NDArray[np.float32]:
            nonlocal done
            tiles = np.stack([rows_of(*rows)[:, slice(*columns)] for rows, columns in windows])
            pooled = self.pool(np.stack([self._of_tiles(index, tiles) for index in range(len(self.members))]))
            done += len(windows)
            progress("predicting tiles", done, total)
            return pooled

        return (strip for _, strip in predict_strips(predict, height, width, self.tiling, skip=skip))

    def _of_tiles(self, index: int, tiles_nhwc: NDArray[np.generic]) -> NDArray[np.float32]:
        """Return the probabilities (n, classes, h, w) of one member for tiles of an image."""
        facts = self.members[index].facts
        trained = max(2 * GRID, min(facts.height, facts.width) // GRID * GRID)
        if self._reaches[index] is not None or trained >= max(tiles_nhwc.shape[1:3]):
            return self._of_member(index, tiles_nhwc)

        def of_one(tile_hwc: NDArray[np.generic]) -> NDArray[np.float32]:
            def predict(windows: Sequence[Window]) -> NDArray[np.float32]:
                return self._of_member(
                    index, np.stack([tile_hwc[slice(*rows), slice(*columns)] for rows, columns in windows])
                )

            small = Tiling(trained, 0)
            height, width = tile_hwc.shape[:2]
            strips = predict_strips(predict, height, width, small, max(1, BATCH_PIXELS // trained**2))
            return np.concatenate([strip for _, strip in strips], axis=1)

        return np.stack([of_one(tile) for tile in tiles_nhwc])

    @property
    def palette(self) -> NDArray[np.uint8] | None:
        """Colours (256, 3) of masks by id: those of the data set if it has colours; None if ids have 16 bits."""
        if max(self.values) > LARGEST_BYTE:
            return None
        facts = self.facts
        given = [facts.colours[facts.classes.index(name)] for name in self.classes] if facts.colours else []
        return class_colours(self.values, given)

    def masks(self, probs_nchw: NDArray[np.float32]) -> NDArray[np.unsignedinteger[Any]]:
        """Return the decided classes (n, h, w) as the data set's own ids, in 16 bits if one is above 255."""
        decided_nhw = self.pool.decide(probs_nchw)
        if max(self.values) <= LARGEST_BYTE:
            return np.asarray(self.values, np.uint8)[decided_nhw]
        return np.asarray(self.values, np.uint16)[decided_nhw]


def load(model: str | Path, device: str = "cpu", tta: str | None = None, *, runs: str | Path = "runs") -> Predictor:
    """Load a member or an ensemble, ready to predict.

    >>> probabilities = load("learned-3")(images)  # doctest: +SKIP

    Args:
        model: its name, the unique beginning of its name, or its directory.
        device: device of the networks.
        tta: ``none``, ``hflip``, ``vflip``, ``flips`` or ``d4`` for every member, instead of the one it was trained
            with. The stored scores and the weights of an ensemble still belong to the original test-time augmentation.
        runs: folder in which names are looked up.

    Raises:
        EnsError: there is no such run, it is unfinished or damaged, has a newer format, or ``tta`` is unknown.
    """
    views = None if tta is None else check_tta(tta)
    root = find_run(model, runs)
    if (status := read_status(root)).get("kind") == "ensemble":
        ensemble = Ensemble.open(root)
        (members, pool), classes = active_members(ensemble), ensemble.classes
    else:
        member = Member.open(root)
        members, classes = [member], member.facts.classes
        pool = Pool.uniform(1, len(classes))
    from ensemble.inference.network import load_networks  # noqa: PLC0415  (torch takes two seconds)

    facts = members[0].facts
    values = tuple(facts.values[facts.classes.index(name)] for name in classes)
    networks = tuple(tuple(load_networks(member, device)) for member in members)
    files = [digests_of(one) for one in (status, *(member.status for member in members))]
    content = digest(*(f"{name} {found}" for one in files for name, found in sorted(one.items())))
    return Predictor(root.name, classes, values, tuple(members), networks, pool, device, views, content)


def predict_batches(
    predictor: Predictor,
    images: Images,
    progress: Progress = no_progress,
    wanted: Callable[[int], bool] = lambda _: True,
) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
    """Yield rows and probabilities in batches of equal image size, in order and in bounded memory.

    Args:
        predictor: a member or an ensemble.
        images: the images; their bands must be those of the members, or be such that `with_bands` converts them.
        progress: callback that receives the progress.
        wanted: which rows are wanted; a batch without such a row is left out. Batches do not depend on it, because
            rounding depends on the batch.

    Raises:
        EnsError: an image does not fit the members.
    """
    total = len(images.ids)
    for rows in equal_sizes([images.head(row) for row in range(total)]):
        if any(map(wanted, rows)):
            batch = [with_bands(images.read(row), predictor.facts.bands) for row in rows]
            for row, image in zip(rows, batch, strict=True):
                to_unit(image, predictor.facts.span, images.name(row))  # the message names the image
            yield list(rows), predictor(np.stack(batch), progress)
        progress("predicting", rows.stop, total)


def equal_sizes(heads: Sequence[tuple[Any, ...]]) -> Iterator[range]:
    """Yield ranges of successive rows whose heads are equal, of at most `BATCH` images and `BATCH_PIXELS` pixels.

    Args:
        heads: height, width and what else must agree, of each image.

    >>> list(equal_sizes([(8, 8), (8, 8), (8, 9)]))
    [range(0, 2), range(2, 3)]
    """
    start = 0
    while start < len(heads):
        height, width, *_ = heads[start]
        most = start + max(1, min(BATCH, BATCH_PIXELS // (height * width)))
        stop = start + 1
        while stop < min(most, len(heads)) and heads[stop] == heads[start]:
            stop += 1
        yield range(start, stop)
        start = stop

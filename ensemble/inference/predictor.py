"""Predict with a member or an ensemble that `ensemble.load` has loaded: from Python on arrays, or batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.combiner import Combiner
from ensemble.combining.promises import confidence
from ensemble.config import DataFacts, Decide, DecideFrom, SmallestObject, Tta
from ensemble.core.errors import EnsError
from ensemble.core.files import digest
from ensemble.core.palette import class_colours
from ensemble.core.progress import Progress, no_progress
from ensemble.core.void import VOID
from ensemble.data.formats.pixels import to_unit
from ensemble.inference.allocator import memory_kept
from ensemble.inference.batching import batches
from ensemble.inference.deciding import fit_to_images, key_of
from ensemble.inference.given_images import images_of_files, paths_of, stack_of
from ensemble.inference.pooled_networks import PooledNetworks
from ensemble.runs.member import Member

LARGEST_BYTE = 255


@dataclass(frozen=True, eq=False)
class Predictor:
    """A member or an ensemble ready to predict: ``predictor(images) -> probabilities``.

    Attributes:
        name: name of the member or ensemble.
        classes: names of the classes, in channel order.
        values: the data set's own id of each class.
        members: the members.
        networks: their networks, which predict native images of any size.
        pool: how their probabilities are combined, and classes decided.
        tta: test-time augmentation of every member; None keeps the one that each member was trained with.
        content: digest of all files of the member, or of the ensemble and its members.
        decide: how classes are decided; with ``expected-iou`` and ``expected-dice`` by the expected scores of ...
        decide_from: ... validation images, or the images that are predicted: then `decided_by` fits them.
        asked: the decision, if it is not the one that was stored; empty if it is.
        fitted: whether weights, temperatures or the decision depend on the validation images of the members.
        least: smallest probability of the decided class of a pixel that gets a class; others become ``open_id``.
        in_set_c: smallest probability with which each class is in the set of a pixel; None without class sets.
        smallest_object: what an ensemble was asked for; the sizes themselves are in ``pool``.
        notes: sentences about what does not fit together.
        on_note: called with each sentence about images that are converted.
    """

    name: str
    classes: tuple[str, ...]
    values: tuple[int, ...]
    members: tuple[Member, ...]
    networks: PooledNetworks
    pool: Combiner
    tta: Tta | None = None
    content: str = ""
    decide: Decide = "argmax"
    decide_from: DecideFrom = "validation"
    asked: str = ""
    fitted: bool = False
    least: float = 0.0
    in_set_c: tuple[float, ...] | None = None
    smallest_object: SmallestObject = None
    notes: tuple[str, ...] = ()
    on_note: Callable[[str], object] = str

    @property
    def digest(self) -> str:
        """Digest of all that decides what is predicted for an image."""
        promised = [f"least {self.least}" if self.least else "", f"sets {self.in_set_c}" if self.in_set_c else ""]
        return digest(self.content, str(self.tta), *filter(None, [self.asked, *promised]))

    def decided_by(self, probabilities: Iterable[NDArray[np.float32]]) -> Predictor:
        """Return the predictor that decides by the expected scores of the images with these probabilities."""
        pool = fit_to_images(self.pool, self.decide, probabilities)
        return replace(self, pool=pool, asked=key_of(pool))

    @property
    def facts(self) -> DataFacts:
        """Facts about the training data of the first member."""
        return self.members[0].facts

    @overload
    def __call__(self, images: NDArray[Any] | str | Path, progress: Progress = ...) -> NDArray[np.float32]: ...
    @overload
    def __call__(self, images: Sequence[str | Path], progress: Progress = ...) -> list[NDArray[np.float32]]: ...
    def __call__(
        self, images: NDArray[Any] | str | Path | Sequence[str | Path], progress: Progress = no_progress
    ) -> NDArray[np.float32] | list[NDArray[np.float32]]:
        """Return the probabilities of images: (n, classes, h, w), or (classes, h, w) of a single image.

        Colours become grey for a model of grey images, and grey becomes colours, as in `ens predict`; ``on_note`` gets
        the sentence about it.

        Args:
            images: images (n, h, w) or (n, h, w, bands), or one image (h, w) or (h, w, bands), in the type and range of
                the training images, such as uint8; or the path of an image. For a list of paths, whose images may have
                any sizes, a list is returned. Three axes whose last one has 1 or 3 places are one image.
            progress: callback that receives the progress of images that are predicted in tiles.

        Raises:
            EnsError: these are no images, or shape, type, range or bands do not fit the training images.
        """
        if (paths := paths_of(images)) is not None:
            given = images_of_files(paths, self.facts, self.name, self.on_note)
            found = [self._of_stack(image[None], progress)[0] for image in given]
            return found[0] if isinstance(images, str | Path) else found
        if not isinstance(images, np.ndarray):
            raise EnsError(
                f"expected a NumPy array of images (n, h, w, {self.facts.bands}), or paths of images, for {self.name},"
                f" got {type(images).__name__}; stack images of one size with np.stack"
            )
        stack, single = stack_of(images, self.facts, self.name, self.on_note)
        probs_nchw = self._of_stack(stack, progress)
        return probs_nchw[0] if single else probs_nchw

    def _of_stack(self, stack_nhwc: NDArray[Any], progress: Progress) -> NDArray[np.float32]:
        unit = to_unit(stack_nhwc, self.facts.span, "the images")
        parts = [unit[rows.start : rows.stop] for rows in batches([unit.shape[1:3]] * len(unit))]
        with memory_kept(self.networks.device) if len(parts) > 1 else nullcontext():
            found = [self.of_unit(part, progress) for part in parts]
        if len(found) == 1:
            return found[0]
        return np.concatenate(found) if found else np.zeros((0, len(self.classes), *unit.shape[1:3]), np.float32)

    def of_unit(self, unit_nhwc: NDArray[np.generic], progress: Progress = no_progress) -> NDArray[np.float32]:
        """Return the probabilities (n, classes, h, w) of images as data sets give them: uint8, or float32 in 0..1."""
        return self.networks.of(unit_nhwc, progress)

    @property
    def palette(self) -> NDArray[np.uint8] | None:
        """Colours (256, 3) of masks by id: those of the data set if it has colours; None if ids have 16 bits."""
        if max(self.values) > LARGEST_BYTE:
            return None
        facts = self.facts
        given = [facts.colours[facts.classes.index(name)] for name in self.classes] if facts.colours else []
        return class_colours(self.values, given)

    @property
    def open_id(self) -> int:
        """The id of pixels that get no class: 255, or the next lower one if a class has that."""
        return next(value for value in range(VOID, -1, -1) if value not in self.values)

    def masks(self, probs_nchw: NDArray[np.float32]) -> NDArray[np.unsignedinteger[Any]]:
        """Return the decided classes (n, h, w) as the data set's own ids, in 16 bits if one is above 255.

        Pixels that get no class are ``open_id``.
        """
        decided_nhw = self.pool.decide(probs_nchw)
        found_nhw = self.ids(decided_nhw)
        if self.least:
            found_nhw[confidence(probs_nchw, decided_nhw) < np.float32(self.least)] = self.open_id
        return found_nhw

    def ids(self, decided_nhw: NDArray[np.integer[Any]]) -> NDArray[np.unsignedinteger[Any]]:
        """Return decided classes as the data set's own ids, in 16 bits if one is above 255."""
        return np.asarray(self.values, np.uint8 if max(self.values) <= LARGEST_BYTE else np.uint16)[decided_nhw]

    def sets(self, probs_nchw: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the class sets (n, bytes, h, w) with a bit per class: that of class c is the bit c % 8 of byte c // 8.

        ``numpy.unpackbits(sets, axis=1, bitorder="little", count=classes)`` gives (n, classes, h, w) of 0 and 1. A set
        may be empty: then no class is as probable as it is where it is true.
        """
        assert self.in_set_c is not None, "class sets were promised"
        in_set = probs_nchw >= np.asarray(self.in_set_c, np.float32)[:, None, None]
        return np.packbits(in_set, axis=1, bitorder="little")

"""Images without labels that a student learns from: folders, files, and the test images of the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.files import digest
from ensemble.core.formatting import counted
from ensemble.core.progress import Progress
from ensemble.core.units import size_name
from ensemble.data import Dataset
from ensemble.data.formats.pixels import to_unit
from ensemble.data.unlabelled import UnlabelledImages
from ensemble.inference.bands import check_bands, with_bands
from ensemble.inference.image_sources import Images
from ensemble.inference.open_images import open_images
from ensemble.inference.training_copies import pixel_digest, pixel_digests

TEST = "test"

Read = Callable[[], NDArray[np.generic]]


@dataclass(frozen=True, eq=False)
class Unlabelled:
    """Images without labels, and what is to be said about them.

    Attributes:
        images: the images.
        sources: where they lay.
        digest: digest of their pixels; empty without images.
        saw_test: whether test images of the data are among them.
        notes: sentences about images that were left out.
    """

    images: UnlabelledImages
    sources: tuple[str, ...] = ()
    digest: str = ""
    saw_test: bool = False
    notes: tuple[str, ...] = ()


def open_sources(text: str | None) -> dict[str, Images | None]:
    """Return the images of each source that a text names; None stands for the test images of the data.

    Args:
        text: paths as `ens predict` takes them, and ``test`` for the test images of the data, with commas between them.

    Raises:
        EnsError: no source, or one without images.
    """
    sources = tuple(part for part in (each.strip() for each in (text or "").split(",")) if part)
    if text is not None and not sources:
        raise EnsError("expected folders or files of unlabelled images, or test, got none; leave unlabelled out")
    for source in sources:
        if source not in (TEST, "sample") and not Path(source).expanduser().exists():
            raise EnsError(f"there are no unlabelled images at {source}; give a folder or a file, or test")
    return {source: None if source == TEST else open_images(source) for source in sources}


def open_unlabelled(
    sources: Mapping[str, Images | None], dataset: Dataset, crop: tuple[int, int] | None, progress: Progress
) -> Unlabelled:
    """Open unlabelled images and leave out copies of labelled ones, whose labels are to be scored.

    Args:
        sources: what `open_sources` returns.
        dataset: the labelled data.
        crop: windows that the student is trained on; None for whole images, which have one size.
        progress: callback that receives the progress.

    Raises:
        EnsError: a source has images that do not fit the data, or all are copies of labelled images.
    """
    if not sources:
        return Unlabelled(UnlabelledImages((), (), _nothing))
    given = [one for source, images in sources.items() for one in _images(source, images, dataset)]
    labelled = pixel_digests(dataset, range(len(dataset.ids)), progress)
    tests = {pixel_digest(dataset.test_image(row)) for row in range(len(dataset.test_ids))}
    kept: dict[str, tuple[str, tuple[int, int], Read]] = {}
    copies = 0
    for number, (source, name, read) in enumerate(given, 1):
        image = read()
        key = pixel_digest(image)
        copies += key in labelled
        if key not in labelled:
            kept.setdefault(key, (f"{source}/{name}", _size(image, name, dataset, crop), read))
        progress("reading unlabelled images", number, len(given))
    if not kept:
        raise EnsError(
            f"all {counted(len(given), 'image')} of {', '.join(sources)} are labelled images of {dataset.name}, which a"
            " student learns from anyway; give others"
        )
    names, sizes, reads = zip(*kept.values(), strict=True)
    notes = (
        (f"{counted(copies, 'unlabelled image')} left out, because labelled images have the same pixels",)
        if copies
        else ()
    )
    images = UnlabelledImages(names, sizes, lambda number: reads[number]())
    return Unlabelled(images, tuple(sources), digest(*kept), not tests.isdisjoint(kept), notes)


def _nothing(number: int) -> NDArray[np.generic]:
    raise AssertionError(f"there is no unlabelled image {number}")


def _images(source: str, images: Images | None, dataset: Dataset) -> list[tuple[str, str, Read]]:
    """Return source and name of each image of a source, and what reads it as the data set gives images."""
    if images is None:
        if not dataset.test_ids:
            raise EnsError(f"{dataset.name} has no test images to learn from; leave test out of unlabelled")
        return [(source, name, partial(dataset.test_image, row)) for row, name in enumerate(dataset.test_ids)]
    for row in range(len(images.ids)):
        check_bands(images.head(row).bands, dataset.bands, images.name(row), dataset.name)
    return [(source, name, partial(_as_in, dataset, images, row)) for row, name in enumerate(images.ids)]


def _as_in(dataset: Dataset, images: Images, row: int) -> NDArray[np.generic]:
    """Return an image with the bands, the units and the type of the images of a data set."""
    image = to_unit(with_bands(images.read(row), dataset.bands), dataset.source.span, images.name(row))
    wanted = dataset.image(0).dtype
    if image.dtype == wanted:
        return image
    if wanted == np.uint8:
        return np.rint(image.astype(np.float32).clip(0, 1) * 255).astype(np.uint8)
    return image.astype(np.float32) / np.float32(255)


def _size(image: NDArray[np.generic], name: str, dataset: Dataset, crop: tuple[int, int] | None) -> tuple[int, int]:
    size = image.shape[0], image.shape[1]
    if crop is None and size != dataset.one_size:
        assert dataset.one_size is not None, "whole images have one size"
        raise EnsError(
            f"expected unlabelled images of {size_name(dataset.one_size)} as those of {dataset.name}, got"
            f" {size_name(size)} of {name}; give a crop, such as 64x64, to train on windows of any images"
        )
    return size

"""Images as Python users give them, arrays or paths of files, as a model takes them: with the bands that it knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.config import DataFacts
from ensemble.core.errors import EnsError
from ensemble.core.reading import is_file
from ensemble.data.formats.image_files import SUFFIXES
from ensemble.data.formats.pixels import dark_note, to_unit
from ensemble.inference.bands import check_bands, conversion_note, with_bands
from ensemble.inference.image_sources import ImageFiles

Say = Callable[[str], object]
GREY_OR_COLOUR = (1, 3)


def paths_of(images: object) -> list[Path] | None:
    """Return the paths that were given, one or a sequence; None if these are no paths."""
    given: Any = [images] if isinstance(images, str | Path) else images
    if not isinstance(given, list | tuple) or not given or not all(isinstance(one, str | Path) for one in given):
        return None
    return [Path(one).expanduser() for one in given]


def stack_of(images: NDArray[Any], facts: DataFacts, name: str, say: Say) -> tuple[NDArray[Any], bool]:
    """Return an array as a stack (n, h, w, bands) with the bands of a model, and whether it was a single image.

    Two axes are an image of one band. Three are an image if the last one is as long as the bands of the model, or as
    grey or colours that become these; else they are images of one band, if the model takes such.

    Raises:
        EnsError: it has other axes, or bands that cannot be converted.
    """
    bands = facts.bands
    known = {bands, *(GREY_OR_COLOUR if bands in GREY_OR_COLOUR else ())}
    single = images.ndim == 2 or (images.ndim == 3 and images.shape[2] in known)
    stack = images
    if images.ndim == 2 or (images.ndim == 3 and not single and bands == 1):
        stack = images[..., None]
    stack = stack[None] if single else stack
    if stack.ndim != 4 or stack.shape[3] not in known:
        shape = images.shape[1:] if images.shape[:1] == (1,) and images.ndim == 4 else images.shape
        raise EnsError(f"expected images (n, h, w, {bands}) or (h, w, {bands}) for {name}, got {shape}")
    if stack.shape[3] == bands:
        return stack, single
    count = len(stack)
    names = ["the array"] if single else [f"image {number} of the array" for number in range(count)]
    if note := conversion_note(names, bands):
        say(note)
    converted = [with_bands(image, bands) for image in stack]
    return (np.stack(converted) if count else np.zeros((*stack.shape[:3], bands), stack.dtype)), single


def images_of_files(paths: Sequence[Path], facts: DataFacts, name: str, say: Say) -> Iterator[NDArray[Any]]:
    """Yield the images (h, w, bands) of files one after the other, converted and noted as `ens predict` does.

    Raises:
        EnsError: a path is no image file, or an image does not fit the model; the text names it. All heads are read
            before the first image.
    """
    for path in paths:
        if not is_file(path) or path.suffix.lower() not in SUFFIXES:
            raise EnsError(
                f"expected the path of an image ({', '.join(SUFFIXES)}), got {path}, which is {_what(path)}; give the"
                " paths of images in a list, or write their masks with ensemble.predict"
            )
    files = ImageFiles([path.stem for path in paths], paths)
    heads = [files.head(row) for row in range(len(paths))]
    for row, head in enumerate(heads):
        check_bands(head.bands, facts.bands, files.name(row), name)
    if note := conversion_note(
        [files.ids[row] for row, head in enumerate(heads) if head.bands != facts.bands], facts.bands
    ):
        say(note)
    highest = -np.inf
    for row in range(len(paths)):
        image = with_bands(files.read(row), facts.bands)
        to_unit(image, facts.span, files.name(row))  # the message names the image
        highest = max(highest, float(image.max()))
        yield image
    if note := dark_note(highest, facts.span):
        say(note)


def _what(path: Path) -> str:
    return "a folder" if path.is_dir() else "none" if path.exists() else "not there"

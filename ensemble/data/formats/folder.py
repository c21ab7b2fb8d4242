"""Read folders of images: ``images/`` and ``masks/``, optional ``test/``, ``classes.txt`` and ``groups.csv``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ensemble.config import Background
from ensemble.core.errors import EnsError
from ensemble.core.files import digest, file_digest
from ensemble.core.void import VOID
from ensemble.data.formats.folder_checks import check_bands, check_sizes, check_types, notes_of
from ensemble.data.formats.header import Header
from ensemble.data.formats.image_files import (
    SUFFIXES,
    check_mask_kind,
    image_files,
    image_header,
    read_image,
    read_mask,
    read_no_data,
    resize,
)
from ensemble.data.formats.names import plain_name, read_class_names, read_groups
from ensemble.data.formats.pixels import Span, limits_of, natural_span, pixel_span, to_unit

CACHE_BYTES = 2 << 30  # decoded images kept in memory; beyond it they are read from disk each time
T = TypeVar("T")


@dataclass(frozen=True)
class FolderSource:
    """Pairs of image and mask files; a pool of threads reads them when needed, and they stay in memory if they fit.

    Attributes:
        image_paths: the images.
        mask_paths: the mask of each image.
        test_paths: the unlabelled images.
        groups: group of each image, or None.
        names: class names by id, or None.
        span: raw pixel values that become 0 and 1.
        bands: bands of every image; a grey image among colour images gets three.
        fingerprint: digest of the content and of how it is read.
        size: height and width that images are resized to, or None.
        notes: sentences about what is left out or changed when the data are read.
        without_data: images with pixels that count as void, because the file says that they have no data.
    """

    image_paths: tuple[Path, ...]
    mask_paths: tuple[Path, ...]
    test_paths: tuple[Path, ...]
    groups: tuple[str, ...] | None
    names: Mapping[int, str] | None
    span: Span
    bands: int
    fingerprint: str
    size: tuple[int, int] | None
    notes: tuple[str, ...] = ()
    without_data: frozenset[Path] = frozenset()
    default_background: Background = "class"
    _cache: dict[Path, NDArray[np.generic]] = field(default_factory=dict, repr=False, compare=False)
    _room: list[int] = field(default_factory=lambda: [CACHE_BYTES], repr=False, compare=False)

    @property
    def ids(self) -> tuple[str, ...]:
        """File names without their ending."""
        return tuple(plain_name(path.stem) for path in self.image_paths)

    @property
    def test_ids(self) -> tuple[str, ...]:
        """File names of the unlabelled images without their ending."""
        return tuple(plain_name(path.stem) for path in self.test_paths)

    def images(self, rows: Sequence[int]) -> NDArray[np.generic]:
        """Return the images (n, h, w, c) of the given rows."""
        return self._read([(path := self.image_paths[row], path) for row in rows], self._read_unit, cv2.INTER_AREA)

    def masks(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Return the masks (n, h, w) of the given rows; pixels without data are 255."""
        pairs = [(self.mask_paths[row], self.image_paths[row]) for row in rows]
        return self._read(pairs, self._read_ids, cv2.INTER_NEAREST).astype(np.uint8, copy=False)

    def test_images(self, rows: Sequence[int]) -> NDArray[np.generic]:
        """Return unlabelled test images (n, h, w, c)."""
        return self._read([(path := self.test_paths[row], path) for row in rows], self._read_unit, cv2.INTER_AREA)

    def _read_unit(self, path: Path, _: Path) -> NDArray[np.generic]:
        unit = to_unit(read_image(path), self.span, str(path))
        return np.repeat(unit, self.bands, axis=2) if unit.shape[2] < self.bands else unit

    def _read_ids(self, path: Path, image: Path) -> NDArray[np.generic]:
        mask = read_mask(path)
        return np.where(read_no_data(image), np.uint8(VOID), mask) if image in self.without_data else mask

    def _read(
        self,
        pairs: Sequence[tuple[Path, Path]],
        read: Callable[[Path, Path], NDArray[np.generic]],
        interpolation: int,
    ) -> NDArray[np.generic]:
        def one(pair: tuple[Path, Path]) -> NDArray[np.generic]:
            path = pair[0]
            if path in self._cache:
                return self._cache[path]
            array = read(*pair)
            if self.size is not None:
                array = resize(array, self.size, interpolation)
            if self._room[0] >= array.nbytes:
                self._room[0] -= array.nbytes
                self._cache[path] = array
            return array

        return np.stack(_in_threads(one, pairs))


def open_folder(path: Path, size: tuple[int, int] | None) -> FolderSource:
    """Open a folder with ``images/`` and ``masks/`` whose files have the same names.

    Raises:
        EnsError: when an image has no mask or a mask no image, sizes, bands or types differ, or files are damaged.
    """
    images, masks = image_files(path / "images"), image_files(path / "masks")
    if not images:
        raise EnsError(
            f"expected images in {path / 'images'} ({', '.join(SUFFIXES)}) and masks of the same names in"
            f" {path / 'masks'}, found no image{_holds(path)}; pass the folder that contains images/ and masks/"
        )
    for here, there, what in ((images, masks, "mask"), (masks, images, "image")):
        missing = sorted(set(here) - set(there))
        if missing:
            raise EnsError(
                f"{len(missing)} of {len(here)} files in {path} have no {what}, the first is {missing[0]};"
                f" add the {what} or move the file away"
            )
    test = image_files(path / "test")
    files = [*images.values(), *(masks[stem] for stem in images), *test.values()]
    headers = dict(zip(files, _in_threads(image_header, files), strict=True))
    shown = {file: headers[file] for file in (*images.values(), *test.values())}
    for file in masks.values():
        check_mask_kind(headers[file], file)
    check_sizes(images, masks, test, headers, size)
    check_types(shown)
    return FolderSource(
        image_paths=tuple(images.values()),
        mask_paths=tuple(masks[stem] for stem in images),
        test_paths=tuple(test.values()),
        groups=read_groups(path / "groups.csv", list(images), SUFFIXES),
        names=read_class_names(path / "classes.txt"),
        span=_span(list(images.values()), headers),
        bands=check_bands(shown),
        fingerprint=_fingerprint(path, [*files, path / "groups.csv", path / "classes.txt"], headers),
        size=size,
        notes=notes_of([path / part for part in ("images", "masks", "test")], headers, shown),
        without_data=frozenset(file for file in images.values() if headers[file].no_data is not None),
    )


def _holds(path: Path) -> str:
    """Return words about what is there instead: in ``images/`` if it exists, else in the folder itself."""
    inside = path / "images" if (path / "images").is_dir() else path
    entries = sorted(inside.iterdir())
    names = [entry.relative_to(path).as_posix() + ("/" if entry.is_dir() else "") for entry in entries]
    return f", but {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}" if names else ""


def _in_threads(function: Callable[[Any], T], items: Iterable[Any]) -> list[T]:
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(function, items))


def _span(paths: Sequence[Path], headers: Mapping[Path, Header]) -> Span:
    """Return the raw values that become 0 and 1; unless the type decides them, all images are read."""
    dtype = headers[paths[0]].dtype
    if (natural := natural_span(dtype)) is not None:
        return natural
    limits = _in_threads(lambda path: limits_of(read_image(path)), paths)
    return pixel_span(
        {f"{path.parent.name}/{path.name}": each for path, each in zip(paths, limits, strict=True)}, np.dtype(dtype)
    )


def _fingerprint(root: Path, files: Sequence[Path], headers: Mapping[Path, Header]) -> str:
    present = [file for file in files if file.is_file()]
    names = [file.relative_to(root).as_posix() for file in present]
    content = "\n".join(f"{name} {text}" for name, text in zip(names, _in_threads(file_digest, present), strict=True))
    # How an image is read is part of the data: versions that did not turn images gave other pixels for the same files.
    read = [f"{name} {headers[file].reading}" for name, file in zip(names, present, strict=True) if file in headers]
    changed = [text for text in read if not text.endswith(" ")]
    return digest(content, *(["\n".join(changed)] if changed else []))

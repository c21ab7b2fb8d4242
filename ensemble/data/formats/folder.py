"""Read folders of images: ``images/`` and ``masks/``, optional ``test/``, ``classes.txt`` and ``groups.csv``."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ensemble.config import Background
from ensemble.core.errors import EnsError
from ensemble.core.files import digest
from ensemble.data.formats.image_files import SUFFIXES, image_files, image_shape, read_image, read_mask, resize
from ensemble.data.formats.pixels import BYTES, Span, pixel_span, to_unit

CACHE_BYTES = 2 << 30  # decoded images kept in memory; beyond it they are read from disk each time


@dataclass(frozen=True)
class FolderSource:
    """Pairs of image and mask files; a pool of threads reads them when needed, and they stay in memory if they fit."""

    image_paths: tuple[Path, ...]
    mask_paths: tuple[Path, ...]
    test_paths: tuple[Path, ...]
    groups: tuple[str, ...] | None
    names: Mapping[int, str] | None
    span: Span
    fingerprint: str
    size: tuple[int, int] | None
    default_background: Background = "class"
    _cache: dict[Path, NDArray[np.generic]] = field(default_factory=dict, repr=False, compare=False)
    _room: list[int] = field(default_factory=lambda: [CACHE_BYTES], repr=False, compare=False)

    @property
    def ids(self) -> tuple[str, ...]:
        """File names without their ending."""
        return tuple(path.stem for path in self.image_paths)

    @property
    def test_ids(self) -> tuple[str, ...]:
        """File names of the unlabelled images without their ending."""
        return tuple(path.stem for path in self.test_paths)

    def images(self, rows: Sequence[int]) -> NDArray[np.generic]:
        """Return the images (n, h, w, c) of the given rows."""
        return self._read([self.image_paths[row] for row in rows], self._read_unit, cv2.INTER_AREA)

    def masks(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Return the masks (n, h, w) of the given rows."""
        return self._read([self.mask_paths[row] for row in rows], read_mask, cv2.INTER_NEAREST).astype(np.uint8)

    def test_images(self, rows: Sequence[int]) -> NDArray[np.generic]:
        """Return unlabelled test images (n, h, w, c)."""
        return self._read([self.test_paths[row] for row in rows], self._read_unit, cv2.INTER_AREA)

    def _read_unit(self, path: Path) -> NDArray[np.generic]:
        return to_unit(read_image(path), self.span, str(path))

    def _read(
        self, paths: Sequence[Path], read: Callable[[Path], NDArray[np.generic]], interpolation: int
    ) -> NDArray[np.generic]:
        def one(path: Path) -> NDArray[np.generic]:
            if path in self._cache:
                return self._cache[path]
            array = read(path)
            if self.size is not None:
                array = resize(array, self.size, interpolation)
            if self._room[0] >= array.nbytes:
                self._room[0] -= array.nbytes
                self._cache[path] = array
            return array

        with ThreadPoolExecutor(4) as pool:
            arrays = list(pool.map(one, paths))
        first = arrays[0]
        for path, array in zip(paths, arrays, strict=True):
            if array.shape[2:] != first.shape[2:]:
                raise EnsError(
                    f"expected {first.shape[2]} band(s) as in {paths[0].name}, got {array.shape[2]} in {path.name};"
                    " convert the images to one kind"
                )
        return np.stack(arrays)


def open_folder(path: Path, size: tuple[int, int] | None) -> FolderSource:
    """Open a folder with ``images/`` and ``masks/`` whose files have the same names.

    Raises:
        EnsError: when an image has no mask or a mask no image, sizes differ, or files are damaged.
    """
    images, masks = image_files(path / "images"), image_files(path / "masks")
    if not images:
        raise EnsError(
            f"expected images in {path / 'images'} ({', '.join(SUFFIXES)}) and masks of the same names in"
            f" {path / 'masks'}, found no image; pass the folder that contains images/ and masks/"
        )
    for here, there, what in ((images, masks, "mask"), (masks, images, "image")):
        missing = sorted(set(here) - set(there))
        if missing:
            raise EnsError(
                f"{len(missing)} of {len(here)} files in {path} have no {what}, the first is {missing[0]};"
                f" add the {what} or move the file away"
            )
    test = image_files(path / "test")
    _check_sizes(images, masks, test, size)
    files = [*images.values(), *(masks[stem] for stem in images), *test.values()]
    return FolderSource(
        image_paths=tuple(images.values()),
        mask_paths=tuple(masks[stem] for stem in images),
        test_paths=tuple(test.values()),
        groups=_read_groups(path / "groups.csv", list(images)),
        names=_read_classes(path / "classes.txt"),
        span=_span(list(images.values())),
        fingerprint=_fingerprint(path, [*files, path / "groups.csv", path / "classes.txt"]),
        size=size,
    )


def _span(paths: Sequence[Path]) -> Span:
    """Return the raw values that become 0 and 1; unless the type decides them, all images are read."""
    first = read_image(paths[0])
    if first.dtype.name in ("uint8", "uint16"):
        return pixel_span(*BYTES, first.dtype)
    with ThreadPoolExecutor(4) as pool:
        limits = list(pool.map(lambda path: (float((image := read_image(path)).min()), float(image.max())), paths))
    return pixel_span(min(low for low, _ in limits), max(high for _, high in limits), first.dtype)


def _fingerprint(root: Path, files: Sequence[Path]) -> str:
    def one(path: Path) -> str:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()

    present = [file for file in files if file.is_file()]
    with ThreadPoolExecutor(4) as pool:
        sums = list(pool.map(one, present))
    return digest(
        "\n".join(f"{file.relative_to(root).as_posix()} {text}" for file, text in zip(present, sums, strict=True))
    )


def _check_sizes(
    images: Mapping[str, Path], masks: Mapping[str, Path], test: Mapping[str, Path], size: tuple[int, int] | None
) -> None:
    with ThreadPoolExecutor(4) as pool:
        image_shapes = dict(zip(images, pool.map(image_shape, images.values()), strict=True))
        mask_shapes = dict(zip(images, pool.map(image_shape, [masks[stem] for stem in images]), strict=True))
        test_shapes = dict(zip(test, pool.map(image_shape, test.values()), strict=True))
    for stem, shape in image_shapes.items():
        if mask_shapes[stem] != shape:
            raise EnsError(
                f"the image {stem} is {shape[0]}x{shape[1]} but its mask is {mask_shapes[stem][0]}x"
                f"{mask_shapes[stem][1]}; expected equal sizes, fix that pair"
            )
    sizes = sorted({*image_shapes.values(), *test_shapes.values()})
    if len(sizes) > 1 and size is None:
        texts = ", ".join(f"{h}x{w}" for h, w in sizes[:4])
        raise EnsError(
            f"the images have {len(sizes)} different sizes ({texts}{', ...' if len(sizes) > 4 else ''});"
            f" choose one, for example image_size {sizes[0][0]}x{sizes[0][1]}"
        )


def _read_classes(path: Path) -> dict[int, str] | None:
    """Return the names by id; the file holds one per line, in the order of the ids."""
    if not path.is_file():
        return None
    names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if len(set(names)) != len(names) or not names:
        raise EnsError(f"expected one different class name per line in {path}, got {names}")
    return dict(enumerate(names))


def _read_groups(path: Path, stems: Sequence[str]) -> tuple[str, ...] | None:
    if not path.is_file():
        return None
    with path.open(newline="", encoding="utf-8-sig") as stream:  # spreadsheets write a byte-order mark first
        rows = list(csv.DictReader(stream))
    if not rows or not {"id", "group"} <= set(rows[0]):
        raise EnsError(f"expected the columns id and group in {path}, got {list(rows[0]) if rows else 'no rows'}")
    groups = {row["id"].strip(): (row["group"] or "").strip() or None for row in rows}
    groups |= {Path(key).stem: group for key, group in groups.items() if Path(key).suffix.lower() in SUFFIXES}
    of_images = [groups.get(stem) for stem in stems]
    if None in of_images:
        raise EnsError(f"{path} has no group for the image {stems[of_images.index(None)]}; add a row for it")
    return tuple(group for group in of_images if group is not None)

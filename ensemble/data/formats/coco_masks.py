"""Read COCO's JSON: the objects of each image, painted over each other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.reading import check_memory, guard, is_file, read_bytes
from ensemble.data.description import MAX_VALUE
from ensemble.data.formats.coco_outlines import mask_of
from ensemble.data.formats.coding import paint
from ensemble.data.formats.table_layout import name_of

CROWD = MAX_VALUE  # value of the pixels of ``iscrowd``: objects that nobody has drawn one by one
_KIND, _ADVICE = "COCO's JSON", "export the annotations again"
_IMAGES, _ANNOTATIONS = ("images", "file_name", "image_id"), ("annotations", "categories", "category_id")
_END = 1 << 16  # bytes at both ends of a file that are looked at to know it
_OBJECTS = 10  # bytes of memory that a byte of JSON needs


@dataclass(frozen=True)
class Outline:
    """One object: its value, whether it is a crowd, and its outline as the file has it."""

    annotation: Any
    value: int
    crowd: bool
    outline: Any


@dataclass(frozen=True)
class CocoMasks:
    """The masks of the images of one file.

    Attributes:
        path: the file.
        files: the file of each image, by its name without folder and ending.
        sizes: height and width of each image, or None if the file does not name them.
        categories: the name of each category by its id.
        annotated: whether the file has annotations.
        objects: the objects of each image.
        shift: what is added to the ids of categories, so that 0 is the background.
    """

    path: Path
    files: Mapping[str, str]
    sizes: Mapping[str, tuple[int, int] | None]
    categories: Mapping[int, str]
    annotated: bool
    objects: Mapping[str, Sequence[Outline]] = field(repr=False)
    shift: int = 0

    @property
    def names(self) -> frozenset[str]:
        """Names of the images, without folder and ending."""
        return frozenset(self.files)

    @property
    def used(self) -> frozenset[int]:
        """Ids of the categories that have objects."""
        return frozenset(each.value for objects in self.objects.values() for each in objects)

    def values(self, name: str, height: int, width: int) -> NDArray[np.uint16]:
        """Return the values of the pixels of an image (h, w): ids of categories, 0 without an object.

        Smaller objects lie above larger ones; of two equal ones the later lies above. Crowds lie below all objects.

        Raises:
            EnsError: the image has another size than the file says, or an outline is damaged or lies outside.
        """
        size = self.sizes[name]
        if size is not None and size != (height, width):
            raise EnsError(
                f"{self.path} says that the image {name} is {size[0]}x{size[1]}, but it is {height}x{width}; use the"
                " images that were annotated"
            )
        objects = self.objects.get(name, ())
        masks = [self._mask(each, name, height, width) for each in objects]
        values = [CROWD if each.crowd else each.value + self.shift for each in objects]
        return paint(masks, values, height, width, [each.crowd for each in objects])

    def _mask(self, each: Outline, name: str, height: int, width: int) -> NDArray[np.bool_]:
        try:
            return mask_of(each.outline, height, width)
        except ValueError as error:
            raise EnsError(
                f"the annotation {each.annotation} of the image {name} in {self.path} cannot be drawn ({error});"
                " correct or remove it"
            ) from None


def open_coco(files: Mapping[str, Path]) -> dict[str, CocoMasks]:
    """Return the masks of each part.

    If a category with the id 0 has objects, 1 is added to all ids, because 0 is the background.

    Raises:
        EnsError: a file cannot be read, or two files name a category differently.
    """
    read = {part: _read(path, _state(path)) for part, path in files.items()}
    names: dict[int, tuple[str, Path]] = {}
    for each in read.values():
        for number, name in each.categories.items():
            other, path = names.setdefault(number, (name, each.path))
            if other != name:
                raise EnsError(
                    f"the category {number} is '{other}' in {path} but '{name}' in {each.path}; give it one name"
                )
    shift = int(any(0 in each.used for each in read.values()))
    highest = max(names, default=0) + shift
    if min(names, default=0) < 0 or highest >= CROWD:
        raise EnsError(f"expected ids of categories from 0 to {CROWD - 2} in {next(iter(files.values()))}, got others")
    return {part: _shifted(each, shift) for part, each in read.items()}


def _shifted(masks: CocoMasks, shift: int) -> CocoMasks:
    known = {number + shift: name for number, name in masks.categories.items() if shift or number}
    return CocoMasks(masks.path, masks.files, masks.sizes, known, masks.annotated, masks.objects, shift)


def is_coco(path: Path) -> bool:
    """Return whether a JSON file looks like COCO's by the words at its ends: it speaks of images and annotations."""
    with guard(path, _KIND, _ADVICE), path.open("rb") as stream:
        head = stream.read(_END)
        stream.seek(max(0, path.stat().st_size - _END))
        ends = head + stream.read(_END)
    return all(any(f'"{word}"'.encode() in ends for word in words) for words in (_IMAGES, _ANNOTATIONS))


def _state(path: Path) -> tuple[int, int] | None:
    return (path.stat().st_mtime_ns, path.stat().st_size) if is_file(path) else None


@lru_cache(maxsize=3)
def _read(path: Path, state: tuple[int, int] | None) -> CocoMasks:
    """Return the content of a file; one of 400 MB takes long, so it is read once unless it changes."""
    del state
    content = read_bytes(path, _KIND, _ADVICE)
    check_memory(_OBJECTS * len(content), str(path))
    with guard(path, _KIND, _ADVICE):
        found = json.loads(content.decode("utf-8-sig"))
    if not isinstance(found, dict):
        raise EnsError(f"expected an object with images, annotations and categories in {path}; {_ADVICE}")
    table = cast("dict[str, Any]", found)
    files, names, sizes = _images(_records(table, "images", path), path)
    known: dict[int, str] = {}
    for each in _records(table, "categories", path):
        number, name = _value(each, "id", int, "category", path), _value(each, "name", str, "category", path).strip()
        if known.setdefault(number, name) != name:
            raise EnsError(f"{path} names the category {number} '{known[number]}' and '{name}'; give it one name")
    annotated = "annotations" in table
    objects: dict[str, list[Outline]] = {}
    for each in _records(table, "annotations", path) if annotated else []:
        name, outline = _outline(each, names, known, path)
        objects.setdefault(name, []).append(outline)
    return CocoMasks(path, files, sizes, known, annotated, objects)


def _images(
    records: Sequence[Mapping[str, Any]], path: Path
) -> tuple[dict[str, str], dict[Any, str], dict[str, tuple[int, int] | None]]:
    """Return the file and the size of each image by its name, and its name by its id."""
    files: dict[str, str] = {}
    names: dict[Any, str] = {}
    sizes: dict[str, tuple[int, int] | None] = {}
    for image in records:
        file, number = str(_value(image, "file_name", str, "image", path)), image.get("id")
        name = name_of(file)
        if not isinstance(number, int | str) or names.setdefault(number, name) != name or name in files:
            raise EnsError(f"{path} holds the image {file} twice, or one without its own id; {_ADVICE}")
        files[name] = file
        height, width = image.get("height"), image.get("width")
        sizes[name] = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    return files, names, sizes


def _outline(
    each: Mapping[str, Any], names: Mapping[Any, str], known: Mapping[int, str], path: Path
) -> tuple[str, Outline]:
    number, image, category = each.get("id"), each.get("image_id"), each.get("category_id")
    if not isinstance(image, int | str) or image not in names:
        raise EnsError(
            f"the annotation {number} of {path} belongs to the image {image}, which is not listed; {_ADVICE}"
        )
    if not isinstance(category, int) or category not in known:
        raise EnsError(f"the annotation {number} of {path} has the category {category}, which is not listed; {_ADVICE}")
    if not each.get("segmentation"):
        raise EnsError(
            f"the annotation {number} of {path} has no segmentation, only a box or nothing; masks are needed, so draw"
            " or remove it"
        )
    return names[image], Outline(number, category, bool(each.get("iscrowd")), each["segmentation"])


def _records(table: Mapping[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    records = table.get(key)
    if not isinstance(records, list) or not all(isinstance(each, dict) for each in cast("list[Any]", records)):
        raise EnsError(f"expected a list '{key}' of objects in {path}, found none; {_ADVICE}")
    return cast("list[dict[str, Any]]", records)


def _value(record: Mapping[str, Any], key: str, kind: type, what: str, path: Path) -> Any:
    value = record.get(key)
    if not isinstance(value, kind) or value == "":
        raise EnsError(f"expected '{key}' in every {what} of {path}, got {value!r}; {_ADVICE}")
    return value

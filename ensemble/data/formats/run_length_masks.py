"""Read the masks of a table with runs of pixels, as Kaggle's competitions have them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.texts import read_table, read_text
from ensemble.data.description import MAX_VALUE
from ensemble.data.formats.coding import paint
from ensemble.data.formats.runs_of_pixels import from_pairs
from ensemble.data.formats.table_layout import name_of

_IMAGE = ("imageid", "id", "image", "img", "filename", "file", "imagename", "name")
_JOINED = ("imageidclassid", "imagelabel", "imageclass", "imageidlabel")
_RUNS = ("encodedpixels", "rle", "rlemask", "segmentation", "annotation")
_OTHERS = ("segmentation", "annotation")  # names that other tables have, too
_CLASS = ("classid", "class", "label", "classname", "category", "categoryid")
_LOOKED_AT = 50  # lines of a table
_EMPTY = ("", "nan", "none", "null", "-1")
_ADVICE = "save it as CSV with the columns ImageId, EncodedPixels and perhaps ClassId"


@dataclass(frozen=True)
class Columns:
    """The names that a table gives to its columns; ``klass`` is None if the images or nothing name the class."""

    image: str
    runs: str
    klass: str | None
    joined: bool


@dataclass(frozen=True)
class RunLengthMasks:
    """The masks of the images of one table.

    Attributes:
        path: the table.
        files: the image as the table names it, by its name without ending.
        classes: the value of each class.
        objects: class and runs of the objects of each image.
        sizes: height and width, if the table has them.
    """

    path: Path
    files: Mapping[str, str]
    classes: Mapping[str, int]
    objects: Mapping[str, Sequence[tuple[str, str]]] = field(repr=False)
    sizes: Mapping[str, tuple[str, str]]

    @property
    def names(self) -> frozenset[str]:
        """Names of the images, without ending."""
        return frozenset(self.files)

    def values(self, name: str, height: int, width: int) -> NDArray[np.uint16]:
        """Return the values of the pixels of an image (h, w): 0 without an object; smaller objects lie above.

        Raises:
            EnsError: runs are damaged or lie outside of the image.
        """
        if name in self.sizes and self.sizes[name] != (str(height), str(width)):
            rows, columns = self.sizes[name]
            raise EnsError(
                f"{self.path} says that the image {name} is {rows}x{columns}, but it is {height}x{width}; use the"
                " images that were annotated"
            )
        united: dict[int, NDArray[np.bool_]] = {}
        for klass, runs in self.objects.get(name, ()):
            try:
                mask = from_pairs(runs, height, width)
            except ValueError as error:
                raise EnsError(
                    f"the runs of the image {name} in {self.path} cannot be read: {error}; correct them"
                ) from None
            value = self.classes[klass]
            united[value] = united[value] | mask if value in united else mask
        return paint(list(united.values()), list(united), height, width)


def columns_of(path: Path) -> Columns | None:
    """Return the columns of a table of runs, or None if it is another table."""
    lines = read_text(path).splitlines()[:_LOOKED_AT]
    for separator in (",", ";", "\t"):
        with suppress(csv.Error):
            names, *rows = csv.reader(lines, delimiter=separator) if lines else [[]]
            columns = _columns([name.strip() for name in names])
            if columns is not None:
                place = [name.strip().lstrip("\ufeff") for name in names].index(columns.runs)
                values = [row[place].strip().lower() for row in rows if len(row) > place]
                pairs = columns.runs.lower() not in _OTHERS or all(value in _EMPTY or " " in value for value in values)
                return columns if pairs else None
    return None


def open_run_lengths(files: Mapping[str, Path]) -> dict[str, RunLengthMasks]:
    """Return the masks of each part.

    Classes that are whole numbers keep their number; if one is 0, 1 is added to all, because 0 is the background.
    Other classes are numbered from 1 in the order of their names.

    Raises:
        EnsError: a table cannot be read, or lacks a column.
    """
    read = {part: _read(path) for part, path in files.items()}
    texts = sorted({klass for each in read.values() for objects in each.objects.values() for klass, _ in objects})
    numbers = {text: int(text) for text in texts if text.isascii() and text.isdigit() and len(text) < 6}
    if len(numbers) == len(texts):
        shift = int(0 in numbers.values())
        classes = {text: number + shift for text, number in numbers.items()}
    else:
        classes = {text: number for number, text in enumerate(texts, 1)}
    if max(classes.values(), default=0) > MAX_VALUE:
        raise EnsError(f"expected classes up to {MAX_VALUE - 1} in {next(iter(files.values()))}, got others")
    return {part: RunLengthMasks(m.path, m.files, classes, m.objects, m.sizes) for part, m in read.items()}


def _columns(names: Sequence[str]) -> Columns | None:
    plain = {name.lower().replace("_", "").replace(" ", "").lstrip("\ufeff"): name for name in names}
    joined = next((plain[name] for name in _JOINED if name in plain), None)
    image = joined or next((plain[name] for name in _IMAGE if name in plain), None)
    runs = next((plain[name] for name in _RUNS if name in plain), None)
    if image is None or runs is None:
        return None
    klass = None if joined else next((plain[name] for name in _CLASS if name in plain), None)
    return Columns(image.lstrip("\ufeff"), runs.lstrip("\ufeff"), klass, joined is not None)


def _read(path: Path) -> RunLengthMasks:
    wanted = columns_of(path)
    if wanted is None:
        raise EnsError(f"expected the columns ImageId and EncodedPixels in {path}, found others; {_ADVICE}")
    named = [wanted.image, wanted.runs, *([wanted.klass] if wanted.klass else [])]
    table = read_table(path, named, _ADVICE)
    size = {name.lower(): name for name in table.columns}
    files: dict[str, str] = {}
    objects: dict[str, list[tuple[str, str]]] = {}
    sizes: dict[str, tuple[str, str]] = {}
    for number, row in enumerate(table.rows, 2):
        file, klass = row[wanted.image], row.get(wanted.klass, "") if wanted.klass else "object"
        if wanted.joined:
            file, mark, klass = file.rpartition("_")
            if not mark:
                raise EnsError(f"expected IMAGE_CLASS in the column {wanted.image} of {path}, got {klass}; {_ADVICE}")
        name = name_of(file)
        if not name:
            raise EnsError(f"line {number} of {path} names no image; correct it")
        files.setdefault(name, file)
        if "height" in size and "width" in size:
            sizes[name] = (row.get(size["height"], ""), row.get(size["width"], ""))
        runs = row.get(wanted.runs, "")
        if runs.lower() in _EMPTY:
            continue
        if not klass:
            raise EnsError(f"line {number} of {path} has runs, but no class; correct it")
        objects.setdefault(name, []).append((klass, runs))
    return RunLengthMasks(path, files, {}, objects, sizes)

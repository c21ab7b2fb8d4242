"""Pascal VOC: JPEGImages/, SegmentationClass/ with palette masks, and the lists in ImageSets/Segmentation/."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ensemble.core.errors import EnsError
from ensemble.core.reading import is_file, is_folder
from ensemble.data.description import Description, Part
from ensemble.data.formats.folders import images_in, tables_in
from ensemble.data.formats.label_names import find_label_names
from ensemble.data.formats.mask_values import ids_in
from ensemble.data.formats.part_samples import read_ids
from ensemble.data.formats.patterns import find_files
from ensemble.data.formats.registry import FORMATS

CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
_VOID = 255
_PHOTOGRAPHS = re.compile(r"20(0[7-9]|1[0-2])_\d{6}")  # how VOC names its images
_IMAGES, _MASKS, _LISTS = "JPEGImages", "SegmentationClass", "ImageSets/Segmentation"
_TRAINING = ("train", "trainval", "default")  # CVAT writes default.txt


@FORMATS.register("voc")
def describe(path: Path) -> Description | None:
    """Pascal VOC: JPEGImages/, SegmentationClass/ and the lists in ImageSets/Segmentation/."""
    if not is_folder(path / _IMAGES) or not is_folder(path / _MASKS) or not images_in(path / _MASKS):
        return None
    images, masks = f"{_IMAGES}/{{id}}.*", f"{_MASKS}/{{id}}.*"
    known, masked = (find_files(path, pattern).files for pattern in (images, masks))
    lists = {
        name: f"{_LISTS}/{name}.txt" for name in (*_TRAINING, "val", "test") if is_file(path / _LISTS / f"{name}.txt")
    }
    training = next((lists[name] for name in _TRAINING if name in lists), None)
    if training is None and (without := sorted(set(known) - set(masked))):
        raise EnsError(
            f"expected the list {path / _LISTS / 'train.txt'}, because {len(without)} of {len(known)} images have no"
            f" mask, such as {without[0]}; found none: write the names of the images with masks into it, one a line"
        )
    parts = {"train": Part(images=(images,), masks=masks, ids=training)}
    if "train" in lists and "val" in lists:
        parts["val"] = Part(images=(images,), masks=masks, ids=lists["val"])
    if "test" in lists:
        labelled = set(read_ids(path / lists["test"], set(known))) <= set(masked)
        parts["test"] = Part(images=(images,), masks=masks if labelled else None, ids=lists["test"])
    return Description(**parts, **_classes(path, set(known) & set(masked)), **tables_in(path))


def _classes(root: Path, names: set[str]) -> Mapping[str, Any]:
    """Return VOC's classes and void = 255 if the masks hold its ids and no file names others."""
    if find_label_names(root, "ids").values:
        return {}
    ids = ids_in(images_in(root / _MASKS))
    if not ids:
        return {}
    highest = max(ids - {_VOID}, default=0)
    original = all(_PHOTOGRAPHS.fullmatch(name) for name in names) and highest < len(CLASSES)
    if not original and highest != len(CLASSES) - 1:
        return {}
    return {"classes": {name: (number,) for number, name in enumerate(CLASSES)}, "void": (_VOID,)}

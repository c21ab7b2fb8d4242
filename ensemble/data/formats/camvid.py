"""CamVid in its three forms: with lists and ids as SegNet has it, in colours with class_dict.csv, and the original."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ensemble.core.errors import EnsError
from ensemble.core.reading import is_file, is_folder
from ensemble.data.description import Description, Part, Value
from ensemble.data.formats.folders import images_in, tables_in
from ensemble.data.formats.label_names import find_label_names
from ensemble.data.formats.mask_values import ids_in
from ensemble.data.formats.pairing import pair_names
from ensemble.data.formats.registry import FORMATS

CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign symbol",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
_VOID = len(CLASSES)
_FRAMES = re.compile(r"(0001TP|0006R0|0016E5|Seq05VD)_.*")  # the four videos
_PARTS = ("train", "val", "test")
_STILLS, _APPROVED = "701_StillsRaw_full", "LabeledApproved_full"


@FORMATS.register("camvid")
def describe(path: Path) -> Description | None:
    """CamVid: train/ and trainannot/ (SegNet), train/ and train_labels/ (in colours), or the original two folders."""
    if is_folder(path / _APPROVED):
        return _original(path)
    for ending in ("annot", "_labels"):
        if is_folder(path / "train") and is_folder(path / f"train{ending}"):
            return _with_parts(path, ending)
    return None


def _original(root: Path) -> Description:
    images = root / _STILLS
    if not images_in(images):
        raise EnsError(
            f"expected CamVid's images in {images}, because {root / _APPROVED} holds its masks, found none; unpack the"
            f" images into {_STILLS}/"
        )
    part = Part(images=(f"{_STILLS}/{{id}}.*",), masks=f"{_APPROVED}/{{id}}_L.*")
    return Description(train=part, **tables_in(root))


def _with_parts(root: Path, ending: str) -> Description | None:
    parts = {name: part for name in _PARTS if (part := _part(root, name, ending)) is not None}
    if "train" not in parts:
        return None
    labelled = [name for name, part in parts.items() if part.masks is not None]
    masks = [mask for name in labelled for mask in images_in(root / f"{name}{ending}")]
    names = [image.stem for name in labelled for image in images_in(root / name)]
    return Description(**parts, **_classes(root, masks, names), **tables_in(root))


def _part(root: Path, name: str, ending: str) -> Part | None:
    images = images_in(root / name)
    if not images:
        return None
    listed = f"{name}.txt" if is_file(root / f"{name}.txt") else None
    masks = images_in(root / f"{name}{ending}")
    pairing = pair_names(images, masks)
    if pairing is not None:
        pattern = f"{name}{ending}/{pairing.mask}.*"
        return Part(images=(f"{name}/{pairing.image}.*",), masks=pattern, ids=listed)
    if masks:
        raise EnsError(
            f"expected masks in {root / f'{name}{ending}'} with the names of the images in {root / name}, got"
            f" {masks[0].name} and {images[0].name}; rename the masks"
        )
    return Part(images=(f"{name}/{{id}}.*",), ids=listed) if name == "test" else None


def _classes(root: Path, masks: Sequence[Path], names: Sequence[str]) -> Mapping[str, Any]:
    """Return SegNet's eleven classes and void = 11 if the masks hold these ids and no file names others."""
    if find_label_names(root, "ids").values:
        return {}
    ids = ids_in(masks)
    if not ids:
        return {}
    original = all(_FRAMES.fullmatch(name) for name in names) and max(ids - {255}, default=0) <= _VOID
    if not original and ids - {255} != set(range(_VOID + 1)):
        return {}
    table: dict[str, tuple[Value, ...]] = {name: (number,) for number, name in enumerate(CLASSES)}
    void = (_VOID, 255) if 255 in ids else (_VOID,)
    return {"classes": table, "void": void}

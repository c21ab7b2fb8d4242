"""Cityscapes: leftImg8bit/PART/CITY/ and gtFine/PART/CITY/, 19 classes; a city is a group."""

from __future__ import annotations

from pathlib import Path

from ensemble.core.errors import EnsError
from ensemble.core.reading import is_folder
from ensemble.data.description import Description, Part, Value
from ensemble.data.formats.folders import tables_in
from ensemble.data.formats.mask_values import ids_in
from ensemble.data.formats.patterns import find_files
from ensemble.data.formats.registry import FORMATS

CLASSES = {  # the classes that count, with their ids in *_labelIds.png; in *_labelTrainIds.png they are 0 to 18
    **{"road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19},
    **{"traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26},
    **{"truck": 27, "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33},
}
_HIGHEST = 33
_IMAGES, _MASKS = "leftImg8bit", "gtFine"


@FORMATS.register("cityscapes")
def describe(path: Path) -> Description | None:
    """Cityscapes: leftImg8bit/PART/CITY/ and gtFine/PART/CITY/ with labelIds or labelTrainIds; a city is a group."""
    if not is_folder(path / _IMAGES) or not is_folder(path / _MASKS):
        return None
    kind = next((kind for kind in ("labelIds", "labelTrainIds") if _masks(path, "train", kind)), None)
    if kind is None:
        raise EnsError(
            f"expected masks such as CITY/NAME_gtFine_labelIds.png in {path / _MASKS / 'train'}, as Cityscapes has"
            " them, found none; unpack gtFine_trainvaltest.zip, or write the masks from the polygons with the scripts"
            " of Cityscapes"
        )
    values = dict(zip(CLASSES, range(len(CLASSES)), strict=True)) if kind == "labelTrainIds" else CLASSES
    classes: dict[str, tuple[Value, ...]] = {name: (value,) for name, value in values.items()}
    counted = set(values.values())
    void = tuple(value for value in (*range(_HIGHEST + 1), 255) if value not in counted)
    parts = {name: _part(path, name, kind, counted) for name in ("train", "val", "test")}
    return Description(
        **{name: part for name, part in parts.items() if part is not None},
        classes=classes,
        void=void if kind == "labelIds" else (255,),
        group_pattern="^([^_]+)_",
        **{key: name for key, name in tables_in(path).items() if key == "split"},
    )


def _part(root: Path, name: str, kind: str, counted: set[int]) -> Part | None:
    images = f"{_IMAGES}/{name}/*/{{id}}_{_IMAGES}.*"
    if not find_files(root, images).files:
        return None
    masks = _masks(root, name, kind)
    # The masks of the official test part hold no class: they stand for labels that are kept secret.
    labelled = bool(masks) and (name != "test" or bool((ids_in(masks[:1]) or set()) & counted))
    if not labelled:
        return Part(images=(images,)) if name == "test" else None
    return Part(images=(images,), masks=_pattern(name, kind))


def _masks(root: Path, name: str, kind: str) -> list[Path]:
    return [path for paths in find_files(root, _pattern(name, kind)).files.values() for path in paths]


def _pattern(name: str, kind: str) -> str:
    return f"{_MASKS}/{name}/*/{{id}}_{_MASKS}_{kind}.png"

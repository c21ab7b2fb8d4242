"""Annotations as COCO has them: JSON files with polygons or runs, and folders of images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ensemble.core.errors import EnsError
from ensemble.core.reading import is_file, is_folder
from ensemble.data.description import Description, Part, Value
from ensemble.data.formats.coco_masks import CROWD, CocoMasks, is_coco, open_coco
from ensemble.data.formats.label_names import LabelNames
from ensemble.data.formats.registry import FORMATS
from ensemble.data.formats.table_layout import files_of_parts, folder_of_test, image_pattern

_OTHER_TASKS = ("captions", "person_keypoints", "panoptic", "image_info")
BACKGROUND = "background"


@FORMATS.register("coco")
def describe(path: Path) -> Description | None:
    """COCO's JSON with polygons or runs of pixels, also as Roboflow exports it."""
    if not is_folder(path):
        return None
    found = [
        file
        for pattern in ("*.json", "*/*.json")
        for file in sorted(path.glob(pattern))
        if not file.name.startswith((*_OTHER_TASKS, ".")) and is_file(file) and is_coco(file)
    ]
    if not found:
        return None
    masks = open_coco(files_of_parts(path, found, "COCO's annotations"))
    parts = {name: _part(path, each, labelled=name != "test") for name, each in masks.items()}
    if "test" not in parts and (folder := folder_of_test(path)) is not None:
        parts["test"] = Part(images=(f"{folder}/{{id}}.*",))
    classes, void = _classes(masks)
    return Description(
        train=parts["train"],
        val=parts.get("val"),
        test=parts.get("test"),
        coding="coco",
        classes=classes,
        void=void,
    )


def _part(root: Path, masks: CocoMasks, *, labelled: bool) -> Part:
    if labelled and not masks.annotated:
        raise EnsError(f"expected a list 'annotations' in {masks.path}, found none; use the file with annotations")
    table = masks.path.relative_to(root).as_posix() if labelled or masks.objects else None
    return Part(images=(image_pattern(root, masks.path, masks.files.values()),), masks=table)


def _classes(masks: Mapping[str, CocoMasks]) -> tuple[dict[str, tuple[Value, ...]], tuple[Value, ...]]:
    """Return the ids of each class, the background first, and those of void."""
    classes: dict[str, tuple[Value, ...]] = {BACKGROUND: (0,)}
    void: tuple[Value, ...] = (CROWD,)
    categories = {number: name for each in masks.values() for number, name in each.categories.items()}
    for number, name in sorted(categories.items()):
        if LabelNames().is_void(name):
            void = (*void, number)
            continue
        key = BACKGROUND if name.lower() == BACKGROUND else name
        classes[key] = (*classes.get(key, ()), number)
    return classes, void

"""One folder per image with a mask file for every object, as the Data Science Bowl 2018 has nuclei."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ensemble.core.errors import EnsError
from ensemble.core.reading import is_folder
from ensemble.data.description import Description, Part
from ensemble.data.formats.folders import folders_in, images_in, part_of, tables_in
from ensemble.data.formats.mask_values import ids_in
from ensemble.data.formats.registry import FORMATS

_NUCLEI = re.compile(r"[0-9a-f]{64}")  # how the Data Science Bowl names its images
_TRIED = 20  # images whose masks are looked at for the value of an object


@FORMATS.register("object-masks")
def describe(path: Path) -> Description | None:
    """One folder per image: NAME/images/NAME.png and NAME/masks/*.png, one file per object (Data Science Bowl)."""
    if not is_folder(path):
        return None
    parts = {"train": ""} if _cases(path, "masks") else _parts(path)
    if "train" not in parts:
        return None
    cases = _cases(path / parts["train"], "masks")
    name = "nucleus" if all(_NUCLEI.fullmatch(case.name) for case in cases) else "object"
    return Description(
        **{part: _part(path, prefix) for part, prefix in parts.items()},
        classes={"background": (0,), name: _values(cases)},
        **tables_in(path),
    )


def _parts(root: Path) -> dict[str, str]:
    """Return the folder of each part, such as ``stage1_train/``; only the test part may have no masks."""
    found: dict[str, str] = {}
    for folder in folders_in(root):
        part = part_of(folder.name)
        if part is not None and _cases(folder, "images" if part == "test" else "masks"):
            found.setdefault(part, f"{folder.name}/")
    return found


def _cases(folder: Path, needed: str) -> list[Path]:
    """Return the folders of single images, or nothing if a folder with images/ holds several of them."""
    cases = [each for each in folders_in(folder) if is_folder(each / "images") and is_folder(each / needed)]
    if any(part_of(each.name) is not None or len(images_in(each / "images")) != 1 for each in cases):
        return []
    return cases


def _part(root: Path, prefix: str) -> Part:
    cases = _cases(root / prefix, "images")
    named = all(image.stem == case.name for case in cases for image in images_in(case / "images"))
    masks = any(is_folder(case / "masks") for case in cases)
    return Part(
        images=(f"{prefix}{{id}}/images/{'{id}' if named else '*'}.*",),
        masks=f"{prefix}{{id}}/masks/*.*" if masks else None,
    )


def _values(cases: Sequence[Path]) -> tuple[int, ...]:
    """Return the values of objects, the largest first.

    Raises:
        EnsError: the masks hold colours, or no object.
    """
    masks = [mask for case in cases[:_TRIED] for mask in images_in(case / "masks")]
    values = sorted((ids_in(masks) or set()) - {0}, reverse=True)
    if not values:
        raise EnsError(
            f"expected a file for each object in {cases[0] / 'masks'}, 0 and one other value such as 255, got no object"
            " or colours; write the masks as grey PNG files"
        )
    return tuple(values)

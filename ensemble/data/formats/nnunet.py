"""nnU-Net's raw data: imagesTr/ with a file per channel, labelsTr/, imagesTs/, labelsTs/ and dataset.json."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ensemble.core.errors import EnsError
from ensemble.core.reading import is_file, is_folder
from ensemble.core.texts import read_text
from ensemble.data.description import Description, Part, Value
from ensemble.data.formats.folders import images_in, tables_in
from ensemble.data.formats.image_files import SUFFIXES
from ensemble.data.formats.registry import FORMATS

_CHANNEL = re.compile(r"(.+)_(\d{4})")
_VOLUMES = (".nii.gz", ".nii", ".mha", ".nrrd", ".npy", ".npz")
_FACTS = "dataset.json"
_DIGITS = 5  # of an id


@FORMATS.register("nnunet")
def describe(path: Path) -> Description | None:
    """nnU-Net: imagesTr/ (files NAME_0000.png, one per channel), labelsTr/, imagesTs/, labelsTs/ and dataset.json."""
    if not is_folder(path / "imagesTr") or not is_folder(path / "labelsTr"):
        return None
    facts = _facts(path)
    ending = str(facts.get("file_ending") or "") or _volume_in(path / "imagesTr")
    if ending.lower() in _VOLUMES:
        raise EnsError(
            f"expected images ({', '.join(SUFFIXES)}) in {path / 'imagesTr'}, got nnU-Net's volumes ({ending}); write"
            " their slices as PNG or TIFF files, and name the case in groups.csv"
        )
    if not images_in(path / "imagesTr"):
        raise EnsError(
            f"expected images ({', '.join(SUFFIXES)}) in {path / 'imagesTr'}, as nnU-Net has them, found none"
        )
    channels = sorted({match[2] for each in images_in(path / "imagesTr") if (match := _CHANNEL.fullmatch(each.stem))})
    train = Part(images=_images("imagesTr", channels), masks="labelsTr/{id}.*")
    test = None
    if images_in(path / "imagesTs"):
        labelled = bool(images_in(path / "labelsTs"))
        test = Part(images=_images("imagesTs", channels), masks="labelsTs/{id}.*" if labelled else None)
    return Description(train=train, test=test, **_classes(facts, path), **tables_in(path))


def _images(folder: str, channels: list[str]) -> tuple[str, ...]:
    return tuple(f"{folder}/{{id}}_{channel}.*" for channel in channels) or (f"{folder}/{{id}}.*",)


def _volume_in(folder: Path) -> str:
    names = [entry.name.lower() for entry in folder.iterdir()]
    return next((ending for ending in _VOLUMES for name in names if name.endswith(ending)), "")


def _facts(root: Path) -> Mapping[str, Any]:
    """Return what dataset.json says; nothing without that file."""
    if not is_file(root / _FACTS):
        return {}
    try:
        facts = json.loads(read_text(root / _FACTS))
    except (ValueError, RecursionError) as error:
        if isinstance(error, EnsError):
            raise
        raise EnsError(f"expected JSON in {root / _FACTS}, got a text that is none ({error}); correct it") from None
    if not isinstance(facts, dict) or not isinstance(facts.get("labels", {}), dict):
        raise EnsError(f"expected an object with 'labels' in {root / _FACTS}, as nnU-Net has it; correct it")
    return facts


def _classes(facts: Mapping[str, Any], root: Path) -> Mapping[str, Any]:
    """Return classes and void values; a value of several regions belongs to the one with the fewest values.

    nnU-Net's regions may lie within each other, such as a tumour and its core. Classes cannot, so the tumour keeps what
    is not core.
    """
    given = {name: values for key, value in facts.get("labels", {}).items() for name, values in [_label(key, value)]}
    wrong = next((name for name, values in given.items() if not values), None)
    if wrong is not None:
        raise EnsError(
            f"expected ids, or lists of ids, in 'labels' of {root / _FACTS}, got {facts['labels']}; correct '{wrong}'"
        )
    void = given.pop("ignore", ())
    owner: dict[int, str] = {}
    for name, values in sorted(given.items(), key=lambda item: len(item[1])):
        for value in values:
            owner.setdefault(value, name)
    own = {name: tuple(value for value in values if owner[value] == name) for name, values in given.items()}
    classes: dict[str, tuple[Value, ...]] = {name: values for name, values in own.items() if values}
    if len(classes) < 2:
        return {}
    return {"classes": classes} | ({"void": void} if void else {})


def _label(key: str, value: Any) -> tuple[str, tuple[int, ...]]:
    """Return name and ids of an entry: {name: id or ids}, as the second version has it, or {id: name}."""
    if key.isdecimal() and len(key) <= _DIGITS and isinstance(value, str) and not value.isdecimal():
        return value, (int(key),)
    values = value if isinstance(value, list) else [value]
    texts = [str(each) for each in values if not isinstance(each, bool)]
    return key, tuple(map(int, texts)) if all(text.isdecimal() and len(text) <= _DIGITS for text in texts) else ()

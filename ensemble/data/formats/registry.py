"""The registry of formats: each one looks at a folder or file and describes it if it is of its kind."""

from __future__ import annotations

from pathlib import Path

from ensemble.core.registry import BUILT_IN, Registry
from ensemble.data.description import Description
from ensemble.data.formats.folders import only_folders

FORMATS: Registry[Description | None] = Registry("format", "ens.formats")
"""Formats in the order in which they are asked. A factory takes the path of a folder or file, and returns its
description if it is of this format, else None. It raises an `EnsError` for data that are clearly of its format, but
cannot be used."""


def recognise(path: Path) -> tuple[str, Description] | None:
    """Return the name of the first format that knows what is at ``path``, and its description.

    Formats of plug-ins are asked first, because whoever loads one expects its data.
    A description without classes is completed by `ensemble.data.survey` from the values of the masks.

    Raises:
        EnsError: the data are of a format, but cannot be used.
    """
    for name in sorted(FORMATS, key=lambda name: FORMATS.origin(name) == BUILT_IN):
        description = FORMATS.create(name, path)
        if description is not None:
            return name, description
    return None


def recognise_within(path: Path) -> tuple[str, Description, Path] | None:
    """Return what `recognise` finds at ``path``, or at the folder within that is all it holds, and where that is.

    Raises:
        EnsError: the data are of a format, but cannot be used.
    """
    for place in (*only_folders(path), path):
        if (found := recognise(place)) is not None:
            return *found, place
    return None

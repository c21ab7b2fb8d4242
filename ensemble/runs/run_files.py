"""Read the files of a run, wherever it lies: in a directory, or below a bundle as if that were a folder of runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ensemble.core.files import file_digest, read_json
from ensemble.core.reading import TEXT_BYTES, guard, is_file
from ensemble.runs.bundle import Bundle, open_bundle
from ensemble.runs.layout import BUNDLE_SUFFIX


def bundle_of(path: Path) -> Bundle | None:
    """Return the bundle that a path lies in, such as ``street.ens/members/unet-ce-s0-7ca07c``, or None.

    Raises:
        EnsError: the bundle is damaged.
    """
    place = next((one for one in path.parents if one.suffix == BUNDLE_SUFFIX and is_file(one)), None)
    return None if place is None else open_bundle(place)


def holds(path: Path) -> bool:
    """Return whether a file of a run is there."""
    bundle = bundle_of(path)
    return is_file(path) if bundle is None else _name(bundle, path) in bundle.digests


def read_file(path: Path) -> bytes:
    """Return the content of a file of a run."""
    bundle = bundle_of(path)
    return path.read_bytes() if bundle is None else bundle.read(_name(bundle, path))


def digest_of(path: Path) -> str:
    """Return the digest of a file of a run; that of a part of a bundle was compared when the bundle was opened."""
    bundle = bundle_of(path)
    return file_digest(path) if bundle is None else bundle.digests[_name(bundle, path)]


def read_content(path: Path) -> Any:
    """Return the content of a JSON file of a run.

    Raises:
        EnsError: the file is missing or broken.
    """
    bundle = bundle_of(path)
    if bundle is None:
        return read_json(path)
    with guard(path, "JSON", "make the bundle again"):
        return json.loads(bundle.read(_name(bundle, path), TEXT_BYTES).decode())


def _name(bundle: Bundle, path: Path) -> str:
    return path.relative_to(bundle.path).as_posix()

"""What comes home from a node: a member's files, written so that at any moment its directory can be resumed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ensemble.core.errors import EnsError
from ensemble.core.files import atomic, file_digest, write_json
from ensemble.study.ray.transfer import FileBundle, unpack


def receive_member(parcel: FileBundle, member: Path, get: Callable[[Any], bytes], names: Mapping[str, str]) -> None:
    """Make the directory ``member`` what it was on the node.

    Every file is written atomically, the status last. So whatever ends this process leaves a member that is
    complete or can be resumed: from the checkpoint that was there, or from the one that came.

    Args:
        parcel: the files, in the order of ``parcels.whole`` or ``parcels.state_of``.
        member: the member's directory here.
        get: fetches a part of the parcel.
        names: places on the node, and what they are called here; the configuration is told the latter.

    Raises:
        EnsError: the disk is full or cannot be written.
    """
    shutil.rmtree(member / "probabilities", ignore_errors=True)  # parts of two stores must not meet
    arrived: set[str] = set()
    for name, content in unpack(parcel, get):
        target = member / name
        if name in ("config.json", "status.json"):
            told = _with_names(_json(content.read(), target), names)
            if "config.json" in told.get("files", {}):
                told["files"]["config.json"] = file_digest(member / "config.json")
            write_json(target, told)
        else:
            with atomic(target) as stream:
                shutil.copyfileobj(content, stream)
        arrived.add(Path(name).parts[0])
    for file in member.iterdir():  # such as the checkpoint of a fold that is trained
        if file.name not in arrived and not file.name.startswith("."):
            file.unlink()


def _json(content: bytes, target: Path) -> dict[str, Any]:
    try:
        return json.loads(content)
    except ValueError as error:
        raise EnsError(f"{target} came damaged from its node ({error}); repeat the command") from None


def _with_names(value: Any, names: Mapping[str, str]) -> Any:
    """The same content with texts that are places on the node replaced."""
    if isinstance(value, dict):
        return {key: _with_names(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_names(item, names) for item in value]
    return names.get(value, value) if isinstance(value, str) else value

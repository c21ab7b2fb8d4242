"""Write a bundle: the same content gives the same bytes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from ensemble.core.files import atomic, sealed
from ensemble.runs.bundle import BLOCK, BUNDLE_FORMAT, COMMENT_BYTES, comment_of, frame_digest
from ensemble.runs.layout import BUNDLE_MANIFEST

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip archive knows


def write_bundle(out: Path, about: Mapping[str, Any], parts: Mapping[str, bytes | Path]) -> None:
    """Write a bundle atomically; the same content gives the same bytes.

    Args:
        out: the file.
        about: what ``bundle.json`` holds; ``model`` is the directory of its member or ensemble, such as
            ``members/unet-ce-s0-7ca07c``. The digests of the parts are added.
        parts: content of each part, or the file that holds it, by the name of the part.
    """
    with atomic(out) as stream:
        with zipfile.ZipFile(stream, "w") as archive:
            archive.comment = b" " * COMMENT_BYTES
            files = {name: _add(archive, name, content) for name, content in parts.items()}
            manifest = sealed({"format_version": BUNDLE_FORMAT, "kind": "bundle", **about, "files": files})
            _add(archive, BUNDLE_MANIFEST, (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode())
        stream.flush()
        end = stream.seek(0, os.SEEK_END) - COMMENT_BYTES
        found = frame_digest(stream, archive.infolist(), end)
        stream.seek(end)
        stream.write(comment_of(found))


def _add(archive: zipfile.ZipFile, name: str, content: bytes | Path) -> str:
    """Add a part and return its digest; files, which hold weights, are not compressed."""
    info = zipfile.ZipInfo(name, _EPOCH)
    info.external_attr = 0o644 << 16
    info.create_system = 3
    info.compress_type = zipfile.ZIP_STORED if isinstance(content, Path) else zipfile.ZIP_DEFLATED
    info.file_size = content.stat().st_size if isinstance(content, Path) else len(content)
    state = hashlib.blake2b(digest_size=16)
    source: IO[bytes]
    with ExitStack() as opened:
        source = opened.enter_context(content.open("rb") if isinstance(content, Path) else io.BytesIO(content))
        target = opened.enter_context(archive.open(info, "w"))
        while block := source.read(BLOCK):
            state.update(block)
            target.write(block)
    return state.hexdigest()

"""Read and write the manifest of a probability store: its images, classes, chunks and checksums; it is written last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from ensemble.core.errors import EnsError
from ensemble.core.files import is_sealed, read_json, sealed, write_json
from ensemble.runs.layout import MANIFEST

VERSION = 1
FILE = MANIFEST
REQUIRED_META = ("split", "split_hash", "data_hash")
_CHUNK_BYTES = 4 << 20
_CHUNK_IMAGES = 64


def images_per_chunk(classes: int, height: int, width: int) -> int:
    """Return the images in every chunk except the last: 4 MB of codes, at least 1 and at most 64 images."""
    return max(1, min(_CHUNK_IMAGES, _CHUNK_BYTES // (classes * height * width)))


def chunk_name(index: int) -> str:
    """Return the file name of a chunk."""
    return f"chunk-{index:05d}.zst"


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """One compressed file of a store."""

    file: str
    images: int
    bytes: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Content of a store.

    Attributes:
        classes: names of the classes, in the order of the channels.
        ids: id of every image, in the order of the rows.
        groups: group of every image.
        height: height of every image, in pixels.
        width: width of every image, in pixels.
        has_labels: whether labels are stored.
        meta: texts given by the writer, among them ``split``, ``split_hash`` and ``data_hash``.
        chunks: the files, in the order of the rows.
    """

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    height: int
    width: int
    has_labels: bool
    meta: Mapping[str, str]
    chunks: tuple[Chunk, ...]

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.ids)

    @property
    def split(self) -> str:
        """Name of the split."""
        return self.meta["split"]

    @property
    def split_hash(self) -> str:
        """Hash of the split; stores are combined only where it agrees."""
        return self.meta["split_hash"]

    @property
    def data_hash(self) -> str:
        """Hash of the data set."""
        return self.meta["data_hash"]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest with its version and a digest of itself; from then on the store exists."""
    write_json(folder / FILE, sealed({"version": VERSION, **asdict(manifest)}))


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest of a store.

    Raises:
        EnsError: the manifest is missing, damaged, or of a newer format.
    """
    file = folder / FILE
    if not file.is_file():
        raise EnsError(f"expected a probability store at {folder}, but it has no {FILE}; predict the split again")
    content: Any = read_json(file)
    version = cast("dict[str, Any]", content).get("version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise EnsError(
            f"{file} has format version {version}, this program reads up to {VERSION}; install a newer ens-toolkit"
        )
    try:
        intact = is_sealed(content) and version == VERSION
        manifest = _parse(content)
    except (AttributeError, KeyError, TypeError, ValueError):
        intact, manifest = False, None
    if not intact or manifest is None or not _consistent(manifest):
        raise EnsError(
            f"expected the manifest of a probability store in {file}, got damaged content; predict the split again"
        )
    return manifest


def is_store(folder: Path) -> bool:
    """Return whether a folder holds a finished store."""
    return (folder / FILE).is_file()


def clear(folder: Path) -> None:
    """Remove a store, or the files of a killed writer; the manifest goes first, so half a store never looks whole."""
    if folder.exists() and not folder.is_dir():
        raise EnsError(f"expected a directory for the probability store, got the file {folder}; choose another name")
    try:
        for pattern in (FILE, "chunk-*.zst", ".chunk-*.tmp", f".{FILE}.*.tmp"):
            for file in folder.glob(pattern):
                file.unlink()
    except OSError as error:
        raise EnsError(f"cannot clear {folder}: {error.strerror}; choose another folder, or free disk space") from error


def _parse(fields: dict[str, Any]) -> Manifest:
    return Manifest(
        classes=tuple(map(str, fields["classes"])),
        ids=tuple(map(str, fields["ids"])),
        groups=tuple(map(str, fields["groups"])),
        height=int(fields["height"]),
        width=int(fields["width"]),
        has_labels=bool(fields["has_labels"]),
        meta={str(key): str(value) for key, value in fields["meta"].items()},
        chunks=tuple(Chunk(**chunk) for chunk in fields["chunks"]),
    )


def _consistent(manifest: Manifest) -> bool:
    # Names and sizes follow from the shapes: a forged manifest cannot point outside its directory or claim more memory.
    if not manifest.classes or manifest.height < 1 or manifest.width < 1 or not manifest.n:
        return False
    full = images_per_chunk(len(manifest.classes), manifest.height, manifest.width)
    due = [(chunk_name(start // full), min(full, manifest.n - start)) for start in range(0, manifest.n, full)]
    if any(key not in manifest.meta for key in REQUIRED_META) or len(manifest.groups) != manifest.n:
        return False
    return due == [(chunk.file, chunk.images) for chunk in manifest.chunks]

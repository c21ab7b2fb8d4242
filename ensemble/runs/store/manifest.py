"""Read and write the manifest of a probability store: its images, classes, chunks and checksums; it is written last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, cast

from ensemble.core.errors import EnsError
from ensemble.core.files import is_sealed, read_json, sealed, write_json
from ensemble.runs.layout import MANIFEST
from ensemble.runs.store.chunks import Piece, Size, chunks_of, rows_per_strip

VERSION = 2
EQUAL = 1  # the version of a store whose images have one size and are not cut
FILE = MANIFEST
REQUIRED_META = ("split", "split_hash", "data_hash")


def chunk_name(index: int) -> str:
    """Return the file name of a chunk."""
    return f"chunk-{index:05d}.zst"


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """One compressed file of a store: several images, or a strip of one."""

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
        sizes: height and width of every image, in pixels.
        has_labels: whether labels are stored.
        meta: texts given by the writer, among them ``split``, ``split_hash`` and ``data_hash``.
        chunks: the files, in the order of the rows.
        cut: whether large images are cut into strips; those of version 1 are not.
    """

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    sizes: tuple[Size, ...]
    has_labels: bool
    meta: Mapping[str, str]
    chunks: tuple[Chunk, ...]
    cut: bool = True

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

    def pieces(self) -> Iterator[tuple[Piece, ...]]:
        """Yield what each chunk holds."""
        return chunks_of(len(self.classes), self.sizes, self.cut)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest with its version and a digest of itself; from then on the store exists."""
    fields = asdict(manifest)
    sizes, cut = fields.pop("sizes"), fields.pop("cut")
    whole = not cut or not any(rows_per_strip(len(manifest.classes), size) < size[0] for size in set(sizes))
    equal = whole and len(set(sizes)) == 1
    version = {"version": EQUAL if equal else VERSION}
    about = {"height": sizes[0][0], "width": sizes[0][1]} if equal else {"sizes": sizes}
    ahead = {key: fields.pop(key) for key in ("classes", "ids", "groups")}
    write_json(folder / FILE, sealed(version | ahead | about | fields))


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest of a store.

    Raises:
        EnsError: the manifest is missing, damaged, or of a newer format.
    """
    file = folder / FILE
    if not file.is_file():
        raise EnsError(f"expected a probability store at {folder}, but it has no {FILE}; make the member again")
    content: Any = read_json(file)
    version = cast("dict[str, Any]", content).get("version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise EnsError(
            f"{file} has format version {version}, this program reads up to {VERSION}; install a newer ens-toolkit"
        )
    try:
        intact = is_sealed(content) and version in (EQUAL, VERSION)
        manifest = _parse(content, version == EQUAL)
    except (AttributeError, KeyError, TypeError, ValueError):
        intact, manifest = False, None
    if not intact or manifest is None or not _consistent(manifest):
        raise EnsError(
            f"expected the manifest of a probability store in {file}, got damaged content; make the member again"
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


def _parse(fields: dict[str, Any], equal: bool) -> Manifest:
    ids = tuple(map(str, fields["ids"]))
    sizes = [(fields["height"], fields["width"])] * len(ids) if equal else fields["sizes"]
    return Manifest(
        classes=tuple(map(str, fields["classes"])),
        ids=ids,
        groups=tuple(map(str, fields["groups"])),
        sizes=tuple((int(height), int(width)) for height, width in sizes),
        has_labels=bool(fields["has_labels"]),
        meta={str(key): str(value) for key, value in fields["meta"].items()},
        chunks=tuple(Chunk(**chunk) for chunk in fields["chunks"]),
        cut=not equal,
    )


def _consistent(manifest: Manifest) -> bool:
    # Names and sizes follow from the shapes: a forged manifest cannot point outside its directory or claim more memory.
    if not manifest.classes or not manifest.n or min(map(min, manifest.sizes), default=0) < 1:
        return False
    if len(manifest.groups) != manifest.n or len(manifest.sizes) != manifest.n:
        return False
    if any(key not in manifest.meta for key in REQUIRED_META):
        return False
    # Chunk by chunk: a forged size could ask for more strips than memory holds.
    return all(
        chunk is not None and pieces is not None and (chunk.file, chunk.images) == (chunk_name(index), len(pieces))
        for index, (chunk, pieces) in enumerate(zip_longest(manifest.chunks, manifest.pieces()))
    )

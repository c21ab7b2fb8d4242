"""Keep results that are costly to compute in the user's cache folder; damaged or outdated ones are computed again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import platformdirs

from ensemble.core.errors import EnsError
from ensemble.core.files import atomic, digest

_DIGEST = 32  # characters


def cache_folder() -> Path:
    """Return the user's cache folder, which need not exist."""
    return platformdirs.user_cache_path("ens-toolkit")


@dataclass(frozen=True)
class Cache:
    """One file of the cache.

    Its content is preceded by a digest of the content, the kind, the version and the key. So a file that is damaged,
    was written by another version, or was renamed is never read.

    Attributes:
        kind: what is kept, such as ``phash``.
        version: version of how it is computed.
        key: digest of what it is computed from.
    """

    kind: str
    version: int
    key: str

    @property
    def path(self) -> Path:
        """The file."""
        return cache_folder() / f"{self.kind}-v{self.version}-{self.key}.bin"

    def read(self) -> bytes | None:
        """Return the content, or None if it is absent, damaged or of another version."""
        try:
            kept = self.path.read_bytes()
        except OSError:
            return None
        content = kept[_DIGEST:]
        return content if kept[:_DIGEST] == self._digest(content) else None

    def write(self, content: bytes) -> None:
        """Write the content; a cache that cannot be written does no harm."""
        try:
            with atomic(self.path) as stream:
                stream.write(self.packed(content))
        except EnsError:
            pass

    def packed(self, content: bytes) -> bytes:
        """Return what the file holds for this content."""
        return self._digest(content) + content

    def _digest(self, content: bytes) -> bytes:
        return digest(self.kind, str(self.version), self.key, content).encode()

"""Read files from outside: one guard turns whatever a reader raises into one sentence, and sizes are checked first."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import psutil

from ensemble.core.cgroups import free_in_groups
from ensemble.core.errors import EnsError
from ensemble.core.formatting import gigabytes

TEXT_BYTES = 256 << 20  # largest text, table or JSON that is read


@contextmanager
def guard(path: Path, kind: str, advice: str) -> Generator[None]:
    """Turn every exception of the block into one sentence about ``path``.

    Readers raise exceptions of many kinds on damaged files (``struct.error``, ``KeyError``, ``RecursionError`` ...),
    and their libraries do not promise which. So this is the one place that catches all of them.

    Args:
        path: the file that is read.
        kind: what it should be, with its article, such as "an image".
        advice: what to do about it.

    Raises:
        EnsError: whatever the block raises.
    """
    try:
        yield
        return
    except EnsError:
        raise
    except FileNotFoundError:
        raise EnsError(f"there is no file {path}; check the path") from None
    except RecursionError:
        reason = "it is nested too deeply"
    except MemoryError:
        reason = "it needs more memory than is free"
    except UnicodeDecodeError:
        reason = "it is not UTF-8 text"
    except OSError as error:
        reason = error.strerror or _first_line(error)
    except Exception as error:
        reason = _first_line(error)
    raise EnsError(f"{path} cannot be read as {kind} ({reason}); {advice}") from None


def read_bytes(path: Path, kind: str, advice: str, limit: int | None = None) -> bytes:
    """Return the content of a file.

    Args:
        path: the file.
        kind: what it should be, for messages; see :func:`guard`.
        advice: what to do if it cannot be read.
        limit: largest size in bytes; None for what fits into memory.

    Raises:
        EnsError: no such file, one that cannot be read, or one that is too large.
    """
    with guard(path, kind, advice):
        size = path.stat().st_size
        if limit is not None and size > limit:
            raise EnsError(
                f"expected at most {limit / 1e6:.0f} MB in {path}, which is read as {kind}, got {size / 1e6:.0f} MB;"
                " check the path"
            )
        check_memory(size, str(path))
        return path.read_bytes()


def check_memory(needed: int, what: str) -> None:
    """Check that ``needed`` bytes fit into the free memory, before they are asked for.

    Raises:
        EnsError: they do not; ``what`` names in the text what needs them.
    """
    free = free_lately()
    if needed > free:
        raise EnsError(
            f"{what} needs {gigabytes(needed)} of memory, but {gigabytes(free)} are free; check the file, or use"
            " less data or a larger machine"
        )


def free_lately() -> int:
    """Return the free memory as it was at most a second ago: reading it takes longer than opening a small file."""
    return _free_in(int(time.monotonic()))


@lru_cache(maxsize=1)
def _free_in(second: int) -> int:
    return free_memory()


def free_memory() -> int:
    """Return the bytes of memory that are free: of the machine, or of its part that this process may use."""
    free, left = int(psutil.virtual_memory().available), free_in_groups()
    return free if left is None else min(free, left)


def is_file(path: Path) -> bool:
    """Return whether ``path`` is a file; a name that no file can have (too long, a zero byte) is none."""
    return os.path.isfile(path)  # noqa: PTH113  (Path.is_file raises an error for such names)


def is_folder(path: Path) -> bool:
    """Return whether ``path`` is a folder; a name that no folder can have is none."""
    return os.path.isdir(path)  # noqa: PTH112  (Path.is_dir raises an error for such names)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200].rstrip(" .") or type(error).__name__

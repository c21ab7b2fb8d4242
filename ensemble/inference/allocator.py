"""What C's allocator (glibc) and torch's do with memory that is free: keep it, or give it back to the system."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from threading import Lock

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of mallopt(3)
_KEEP = {_MMAP_THRESHOLD: 1 << 30, _TRIM_THRESHOLD: (1 << 31) - 1}  # bytes
_USUAL = {_MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20}  # what glibc arrives at by itself with large tensors


def release_memory(device: str) -> None:
    """Give free memory that is held back to the system: C's allocator (glibc) and torch's on a GPU keep much of it."""
    if device == "cuda":
        import torch  # noqa: PLC0415  (two seconds)

        torch.cuda.empty_cache()
    elif sys.platform == "linux":
        with suppress(AttributeError, OSError):  # other C libraries do not have it
            ctypes.CDLL(None).malloc_trim(0)


class _Blocks:
    """How many blocks keep memory at the moment: one may lie in another, or run in another thread."""

    def __init__(self) -> None:
        self._count, self._lock = 0, Lock()

    def begin(self) -> None:
        """Count one more; the first one changes what C's allocator does."""
        with self._lock:
            self._count += 1
            if self._count == 1:
                _set(_KEEP)

    def end(self) -> bool:
        """Count one less, and return whether it was the last one, which changes it back."""
        with self._lock:
            self._count -= 1
            if not self._count:
                _set(_USUAL)
            return not self._count


_blocks = _Blocks()


@contextmanager
def memory_kept(device: str) -> Generator[None]:
    """Keep free memory for the next tensors during the block, and give it back after it.

    The system clears each page that it hands out. Training that gets its maps anew in each step spends about 4 % of its
    time on that (`experiments/benchmarks/step_profile.py`), predictions up to almost half of theirs
    (`experiments/benchmarks/kept_memory.py`).
    """
    on_cpu = device == "cpu"
    if on_cpu:
        _blocks.begin()
    try:
        yield
    finally:
        if not on_cpu or _blocks.end():
            release_memory(device)


@contextmanager
def memory_anew(device: str) -> Generator[None]:
    """Give free memory that is kept back before and after the block, whose tensors have other sizes."""
    release_memory(device)
    try:
        yield
    finally:
        release_memory(device)


def _set(thresholds: dict[int, int]) -> None:
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # other C libraries do not have it
            for parameter, size in thresholds.items():
                ctypes.CDLL(None).mallopt(parameter, size)

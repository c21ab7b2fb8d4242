"""What C's allocator (glibc) and torch's do with memory that is free: keep it, or give it back to the system."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of mallopt(3)
_KEEP = {_MMAP_THRESHOLD: 1 << 30, _TRIM_THRESHOLD: (1 << 31) - 1}  # bytes
_USUAL = {_MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20}  # what glibc arrives at by itself with large tensors


def release_memory(device: str) -> None:
    """Give free memory that is held back to the system: C's allocator (glibc) and torch's on a GPU keep much of it."""
    if device == "cuda":
        torch.cuda.empty_cache()
    elif sys.platform == "linux":
        with suppress(AttributeError, OSError):  # other C libraries do not have it
            ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def memory_kept(device: str) -> Generator[None]:
    """Keep free memory for the next tensors during the block, and give it back after it.

    The system clears each page that it hands out. A step that gets its maps anew each time spends about 4 % of its time
    on that (`experiments/benchmarks/step_profile.py`).
    """
    _set(_KEEP if device == "cpu" else {})
    try:
        yield
    finally:
        _set(_USUAL if device == "cpu" else {})
        release_memory(device)


def _set(thresholds: dict[int, int]) -> None:
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):
            for parameter, size in thresholds.items():
                ctypes.CDLL(None).mallopt(parameter, size)

"""The peak memory of a block of code: of the process on a CPU, of torch's tensors on a GPU."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import psutil
import torch

from ensemble.inference.allocator import release_memory

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_RESET_PEAK = "5"  # see proc(5)
SAMPLE_SECONDS = 0.005  # between two looks at the memory, where the system keeps no peak that can be reset


@dataclass
class Peak:
    """The peak of a block in bytes, known when the block has ended."""

    bytes: int = 0


@contextmanager
def peak_memory(device: str) -> Generator[Peak]:
    """Measure the peak of all memory in use during the block, what was in use before included; do not nest it.

    Free memory that Python and torch hold back is given back first: without this, a block that reuses it seems to
    need none (one network was measured at 497 to 1,002 MB).
    """
    release_memory(device)
    peak = Peak()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        try:
            yield peak
        finally:
            peak.bytes = torch.cuda.max_memory_allocated()
    elif _reset():
        try:
            yield peak
        finally:
            peak.bytes = _high_water()
    else:
        with _sampled(peak):
            yield peak


def memory_in_use(device: str) -> int:
    """Return the bytes that are in use now: by the process, or by torch's tensors on a GPU."""
    return torch.cuda.memory_allocated() if device == "cuda" else psutil.Process().memory_info().rss


def _reset() -> bool:
    """Let the kernel forget the peak of this process; return whether it can."""
    try:
        _CLEAR.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def _high_water() -> int:
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


@contextmanager
def _sampled(peak: Peak) -> Generator[None]:
    """Look at the memory of the process every few milliseconds."""
    process, done = psutil.Process(), Event()

    def watch() -> None:
        while True:
            peak.bytes = max(peak.bytes, process.memory_info().rss)
            if done.wait(SAMPLE_SECONDS):
                return

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()

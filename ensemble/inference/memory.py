"""Networks that do not fit into the memory: found before training if possible, and one sentence in every case."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager

import torch

from ensemble.core.errors import EnsError
from ensemble.core.formatting import gigabytes
from ensemble.core.reading import free_memory

WEIGHT_BYTES = 4  # of a number as float32
SMALLER = "choose a smaller network (fewer filters, less depth)"
# How torch says it; it has an own exception on a GPU only. The last is a size beyond what 64 bits can count.
_MESSAGES = re.compile(
    "can't allocate memory|not enough memory|out of memory|ALLOC_FAILED|Invalid buffer size|calculation overflowed",
    re.IGNORECASE,
)
_ASKED = re.compile(r"tried to allocate ([\d.]+) ?(bytes|KiB|MiB|GiB|TiB)", re.IGNORECASE)
_UNITS = {"bytes": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}


def training_bytes(parameters: int, learning: int, *, moments: int) -> int:
    """Return the fewest bytes that training keeps for the weights of a network.

    Each weight has a moving average; each that learns has a gradient and the moments of the optimiser, too.

    Args:
        parameters: number of weights.
        learning: number of those that learn.
        moments: numbers that the optimiser keeps for each of them: two of AdamW, one of Muon.

    >>> training_bytes(10, 10, moments=2), training_bytes(10, 0, moments=2)
    (200, 80)
    """
    return WEIGHT_BYTES * (2 * parameters + (1 + moments) * learning)


def check_network_memory(parameters: int, device: str, *, training: int | None = None) -> None:
    """Check that the weights of a network fit into the memory, with all that training keeps for each of them.

    Args:
        parameters: number of weights.
        device: where they will be.
        training: bytes that training keeps, see `training_bytes`; None: the network is only built.

    Raises:
        EnsError: they do not; the text names both sizes.
    """
    needed, free = WEIGHT_BYTES * parameters if training is None else training, free_bytes(device)
    if needed > free:
        raise EnsError(
            f"this network is too large for the memory: {'building' if training is None else 'training'} its"
            f" {parameters / 1e6:,.0f} million weights needs at least {gigabytes(needed)}, but {gigabytes(free)}"
            f" are free; {SMALLER} or a machine with more memory"
        )


@contextmanager
def enough_memory() -> Generator[None]:
    """Turn every error of torch or Python about too little memory into one sentence; it is also a decorator.

    Raises:
        EnsError: the block asks for more memory than is free.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        on_gpu = isinstance(error, torch.OutOfMemoryError)
        if not (on_gpu or isinstance(error, MemoryError) or _MESSAGES.search(str(error))):
            raise
        asked = _ASKED.search(str(error))
        size = float(asked[1]) * _UNITS[asked[2].lower()] if asked else None
        what = "it needs more memory" if size is None else f"it needs another {gigabytes(size)}"
        free = free_bytes("cuda" if on_gpu else "cpu")
        raise EnsError(
            f"this network is too large for the memory: {what}, but {gigabytes(free)} are free; {SMALLER}, a smaller"
            " batch_size or a machine with more memory"
        ) from error


def free_bytes(device: str) -> int:
    """Return the bytes that are free: of the GPU, or of the machine or the part of it that this process may use."""
    if device == "cuda" and torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    return free_memory()

"""Free memory is kept while steps repeat, and given back afterwards."""

from __future__ import annotations

import resource
import sys

import numpy as np
import pytest
import torch

from ensemble.inference.allocator import memory_kept, release_memory
from ensemble.inference.peak_memory import memory_in_use

MB = 10**6


def test_memory_that_is_free_is_given_back() -> None:
    pieces = [np.ones(100_000, np.uint8) for _ in range(2000)]  # too small to be given back at once
    kept, full = pieces[::100], memory_in_use("cpu")
    del pieces
    release_memory("cpu")
    assert len(kept) == 20
    assert memory_in_use("cpu") < full - 100 * MB


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is asked to keep memory")
def test_pages_are_not_cleared_again_for_the_next_step() -> None:
    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(5):
            torch.empty(200 * MB, dtype=torch.uint8).fill_(1)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    release_memory("cpu")
    before = memory_in_use("cpu")
    usual = faults()
    with memory_kept("cpu"):
        kept = min(faults() for _ in range(4))
        assert memory_in_use("cpu") > before + 150 * MB
    assert kept < usual / 20
    assert memory_in_use("cpu") < before + 50 * MB

"""Free memory is kept while steps repeat, and given back afterwards."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from ensemble.inference import allocator
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


STEPS = """
import json, resource
import torch
from ensemble.inference.allocator import memory_kept
from ensemble.inference.peak_memory import memory_in_use

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.empty(200_000_000, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before, usual = memory_in_use("cpu"), faults()
with memory_kept("cpu"):
    kept = min(faults() for _ in range(4))
    during = memory_in_use("cpu") - before
print(json.dumps([usual, kept, during, memory_in_use("cpu") - before]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is asked to keep memory")
def test_pages_are_not_cleared_again_for_the_next_step() -> None:
    # In a process of its own: after thousands of tests, the heap of this one may have no place for large tensors.
    done = subprocess.run([sys.executable, "-c", STEPS], check=True, capture_output=True, text=True)
    usual, kept, during, after = json.loads(done.stdout)
    assert kept < usual / 20
    assert during > 150 * MB
    assert after < 50 * MB


ANEW = """
import json
import torch
from ensemble.inference.allocator import memory_anew, memory_kept
from ensemble.inference.peak_memory import memory_in_use

def use():
    torch.empty(200_000_000, dtype=torch.uint8).fill_(1)
    return memory_in_use("cpu") - before

before = memory_in_use("cpu")
with memory_kept("cpu"):
    kept = use()
    with memory_anew("cpu"):
        begun = memory_in_use("cpu") - before
        inside = use()
    ended = memory_in_use("cpu") - before
print(json.dumps([kept, begun, inside, ended]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is asked to keep memory")
def test_a_block_with_other_sizes_begins_and_ends_without_kept_memory() -> None:
    done = subprocess.run([sys.executable, "-c", ANEW], check=True, capture_output=True, text=True)
    kept, begun, inside, ended = json.loads(done.stdout)
    assert min(kept, inside) > 150 * MB
    assert max(begun, ended) < 50 * MB


def test_the_last_block_to_end_changes_the_allocator_back(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(allocator, "_set", lambda sizes: done.append("keep" if max(sizes.values()) >> 30 else "usual"))
    monkeypatch.setattr(allocator, "release_memory", done.append)
    one, other = memory_kept("cpu"), memory_kept("cpu")  # as of two generators
    with one:
        other.__enter__()
        with memory_kept("cuda"):
            pass
    assert done == ["keep", "cuda"]
    other.__exit__(None, None, None)
    assert done == ["keep", "cuda", "usual", "cpu"]
    with pytest.raises(KeyError), memory_kept("cpu"):
        raise KeyError
    assert done[4:] == ["keep", "usual", "cpu"]

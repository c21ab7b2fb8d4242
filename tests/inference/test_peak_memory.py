"""The peak of a block is that block's, wherever it is looked up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ensemble.inference import peak_memory as module
from ensemble.inference.peak_memory import memory_in_use, peak_memory

MB = 10**6


@pytest.mark.parametrize("kernel", [True, False])
def test_the_peak_is_that_of_the_block_alone(kernel: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not kernel:  # sampled, as on systems that keep no peak that can be reset
        monkeypatch.setattr(module, "_CLEAR", tmp_path / "no" / "folder")
    with peak_memory("cpu") as large:
        before = memory_in_use("cpu")
        np.ones(400 * MB, np.uint8).sum()
    with peak_memory("cpu") as small:
        np.ones(100 * MB, np.uint8).sum()
    assert 395 * MB < large.bytes - before < 440 * MB
    assert 95 * MB < small.bytes - before < 140 * MB


def test_the_peak_is_known_if_the_block_fails() -> None:
    with pytest.raises(ZeroDivisionError), peak_memory("cpu") as peak:
        _ = 1 / 0
    assert peak.bytes > 10 * MB

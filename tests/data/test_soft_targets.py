"""Probabilities of teachers on disk: written and read by windows, refused if they are damaged or of another student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.core.errors import EnsError
from ensemble.core.void import VOID
from ensemble.data.soft_targets import Place, SoftTargets


def targets(folder: Path, **changes: Any) -> SoftTargets:
    fields: dict[str, Any] = {"folder": folder, "key": "a", "sizes": [(5, 7), (5, 7), (40, 300)]}
    fields |= {"unlabelled": range(0), "share": 0.25, "prepare": lambda: None}
    return SoftTargets(**(fields | changes))


def codes_of(size: tuple[int, int], seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 128, (*size, 3), dtype=np.uint8)


def test_whole_images_and_windows_are_read_as_they_were_written(tmp_path: Path) -> None:
    soft = targets(tmp_path)
    for row, size in enumerate(soft.sizes):
        soft.write(row, codes_of(size, row))
    assert all(soft.has(row) for row in range(3))
    whole = soft.read([Place(1), Place(0)])
    np.testing.assert_array_equal(whole, np.stack([codes_of((5, 7), 1), codes_of((5, 7), 0)]))
    (window,) = soft.read([Place(2, (30, 46), (-2, 140))])
    expected = np.full((16, 142, 3), VOID, np.uint8)
    expected[:10, 2:] = codes_of((40, 300), 2)[30:, :140]
    np.testing.assert_array_equal(window, expected)


def test_damaged_and_foreign_files_are_not_read(tmp_path: Path) -> None:
    soft = targets(tmp_path)
    soft.write(0, codes_of((5, 7)))
    assert not targets(tmp_path, key="b").has(0)
    content = bytearray(soft.file(0).read_bytes())
    content[-1] ^= 1
    soft.file(0).write_bytes(content)
    assert not soft.has(0)
    with pytest.raises(EnsError, match=r"0\.px is missing or damaged, .* repeat the command"):
        soft.read([Place(0)])


def test_a_batch_has_its_share_of_unlabelled_images_and_keeps_those_with_the_rare_class(tmp_path: Path) -> None:
    soft, rows = targets(tmp_path, unlabelled=range(100, 110)), list(range(8))
    kept = [True, False, False, True, True, True, True, True]
    for seed in range(20):
        mixed = soft.mixed(rows, kept, np.random.default_rng(seed))
        assert [row for row in mixed if row < 100] == [0, 3, 4, 5, 6, 7]
        assert all(row in range(100, 110) for row in (mixed[1], mixed[2]))
    assert targets(tmp_path).mixed(rows, kept, np.random.default_rng(0)) == rows
    assert len([row for row in targets(tmp_path, unlabelled=range(9, 10), share=0.99).mixed([0, 1], [False] * 2,
                np.random.default_rng(0)) if row == 9]) == 1  # fmt: skip

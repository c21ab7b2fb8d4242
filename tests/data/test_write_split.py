"""`ens data split` writes the split that training makes, and training reads it back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.data import open_dataset, split_dataset
from ensemble.data.groups import image_groups
from ensemble.data.write_split import write_split


@pytest.mark.parametrize("folds", [None, 3])
def test_the_file_is_the_split(tmp_path: Path, cache: Path, folds: int | None) -> None:
    asked = DataSettings(source="sample", folds=folds, split_seed=4)
    counts = write_split(asked, tmp_path / "s.csv")
    data = open_dataset(asked)
    groups = image_groups(data)
    made = split_dataset(data, groups, asked)
    read = split_dataset(data, groups, DataSettings(source="sample", split=str(tmp_path / "s.csv")))
    assert read.split_hash == made.split_hash
    assert sum(counts.values()) == len(data.ids)
    assert set(counts) == ({"train", "val"} if folds is None else {"1", "2", "3"})
    for ours, theirs in zip(made.validation, read.validation, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    head, first = (tmp_path / "s.csv").read_text().splitlines()[:2]
    assert head == f"id,{'part' if folds is None else 'fold'},group"
    assert first.split(",")[0] == data.ids[0]
    assert first.split(",")[2] == groups[0]


def test_the_file_ends_in_csv(tmp_path: Path) -> None:
    with pytest.raises(EnsError, match=r"ends in \.csv as out, got .*s\.txt; give for example folds\.csv"):
        write_split(DataSettings(), tmp_path / "s.txt")

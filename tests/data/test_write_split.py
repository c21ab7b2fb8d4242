"""`ens data split` writes the split that training makes, and training reads it back."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.core.files import digest
from ensemble.data import Split, open_dataset, split_dataset
from ensemble.data.groups import image_groups
from ensemble.data.split import choose_vault, cut_by_vault
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


@pytest.mark.parametrize("folds", [None, 3])
def test_a_vault_takes_whole_groups_and_the_rest_is_split_as_ever(
    tmp_path: Path, cache: Path, folds: int | None
) -> None:
    counts = write_split(DataSettings(source="sample", folds=folds), tmp_path / "s.csv", vault=0.25)
    data = open_dataset(DataSettings(source="sample"))
    names = np.array(image_groups(data))
    split = split_dataset(data, names.tolist(), DataSettings(source="sample", split=str(tmp_path / "s.csv")))
    assert len(split.validation) == (folds or 1)
    assert counts["vault"] == len(split.vault)
    assert len(set(names[split.vault])) == pytest.approx(0.25 * len(set(names)), abs=2)
    parts = [split.vault, *split.validation, *([split.training(0)] if folds is None else [])]
    assert sorted(np.concatenate(parts)) == list(range(len(data.ids)))  # each image once
    for one, other in itertools.combinations(parts, 2):
        assert not set(names[one]) & set(names[other])
    for fold, rows in enumerate(split.validation):
        assert not set(split.training(fold)) & {*rows, *split.vault}
    held = data.foreground_nk[split.vault].sum(0)
    assert (held > 0).all()  # stratified: each class is there to be scored


def test_a_vault_changes_the_hash_and_no_vault_keeps_that_of_older_members(tmp_path: Path, cache: Path) -> None:
    data = open_dataset(DataSettings(source="sample"))
    groups = [f"g{row}" for row in range(len(data.ids))]
    parts = ["val" if row < 10 else "train" for row in range(len(data.ids))]

    def split_of(parts: list[str]) -> Split:
        table = tmp_path / "s.csv"
        table.write_text(
            "\n".join(["id,part", *(f"{name},{part}" for name, part in zip(data.ids, parts, strict=True))])
        )
        return split_dataset(data, groups, DataSettings(source="sample", split=str(table)))

    plain, closed = split_of(parts), split_of([*parts[:-5], *["Vault"] * 5])
    assert plain.split_hash == digest("\n".join(data.ids[:10]))
    assert closed.split_hash == digest("\n".join(data.ids[:10]), "\n".join(data.ids[-5:]))
    assert closed.vault.tolist() == list(range(len(data.ids) - 5, len(data.ids)))
    assert closed.without(np.array([0]), data.ids).vault.tolist() == closed.vault.tolist()
    assert cut_by_vault(closed, groups) == []
    assert cut_by_vault(closed, [*groups[:-1], "g0"]) == ["g0"]


@pytest.mark.parametrize("share", [0.0, 1.0, -0.2, float("nan")])
def test_the_share_of_a_vault_lies_between_0_and_1(tmp_path: Path, cache: Path, share: float) -> None:
    with pytest.raises(EnsError, match=r"expected a share between 0 and 1 as vault, got .*; give for example 0\.2"):
        write_split(DataSettings(source="sample"), tmp_path / "s.csv", vault=share)


def test_a_vault_needs_three_groups() -> None:
    with pytest.raises(EnsError, match="expected at least 3 groups of images for training, validation and a vault"):
        choose_vault(["a", "b", "a"], np.ones((3, 2), np.int64), 0.2, 0)


def test_a_vault_is_taken_from_a_given_split_once(tmp_path: Path, cache: Path) -> None:
    given, closed, again = (tmp_path / name for name in ("given.csv", "closed.csv", "again.csv"))
    write_split(DataSettings(source="sample"), given)
    write_split(DataSettings(source="sample", split=str(given)), closed, vault=0.2)
    before, after = (path.read_text().splitlines() for path in (given, closed))
    changed = [(one, other) for one, other in zip(before, after, strict=True) if one != other]
    assert changed
    assert all(other.split(",")[1] == "vault" for _, other in changed)  # the others keep their part
    assert {"train", "val", "vault"} <= {line.split(",")[1] for line in after}
    write_split(DataSettings(source="sample", split=str(closed)), again)
    assert again.read_text() == closed.read_text()
    with pytest.raises(EnsError, match="comes with a vault; leave out the new one, so that it stays closed"):
        write_split(DataSettings(source="sample", split=str(closed)), again, vault=0.2)

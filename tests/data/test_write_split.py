"""`ens data split` writes the split that training makes, and training reads it back."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.core.files import digest
from ensemble.data import Split, open_dataset, split_dataset
from ensemble.data.groups import image_groups, image_sites
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


def test_a_vault_leaves_groups_for_training_and_validation(tmp_path: Path, cache: Path) -> None:
    tiles = np.random.default_rng(0).integers(1, 3, (6, 2, 32, 32))
    np.savez(tmp_path / "d.npz", training_set=tiles, training_groups=np.array(list("abcdef")))
    with pytest.raises(EnsError, match="the vault leaves 1 group of 6, but training and validation need 2; choose"):
        write_split(DataSettings(source=str(tmp_path / "d.npz")), tmp_path / "s.csv", vault=0.95)


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


# ---------------------------------------------------------------- sites


def write_npz(path: Path, groups: list[str] | None, images: int = 24) -> str:
    generator = np.random.default_rng(0)
    pairs = generator.integers(0, 256, (images, 2, 32, 32), np.uint8)
    pairs[:, 1] = generator.integers(1, 3, (images, 32, 32))
    arrays: dict[str, Any] = {"training_set": pairs} | ({} if groups is None else {"training_groups": np.array(groups)})
    np.savez(path, **arrays)
    return str(path)


@pytest.mark.parametrize("folds", [None, 3])
def test_no_site_is_divided(tmp_path: Path, cache: Path, folds: int | None) -> None:
    stops = [f"{row % 6:03d}{row % 2:04d}" for row in range(24)]  # six sites, each with a stop or two
    source = write_npz(tmp_path / "d.npz", stops)
    write_split(DataSettings(source=source, folds=folds), tmp_path / "s.csv", site=r"^(\d{3})")
    data = open_dataset(DataSettings(source=source))
    split = split_dataset(data, stops, DataSettings(source=source, split=str(tmp_path / "s.csv")))
    sites = np.array([stop[:3] for stop in stops])
    assert len(split.validation) == (folds or 1)
    for fold, rows in enumerate(split.validation):
        assert len(rows)
        assert not set(sites[rows]) & set(sites[split.training(fold)])
    lines = (tmp_path / "s.csv").read_text().splitlines()[1:]
    assert [line.rpartition(",")[2] for line in lines] == sites.tolist()


def test_sites_that_share_a_group_are_one_and_names_that_do_not_fit_are_alone(tmp_path: Path, cache: Path) -> None:
    source = write_npz(tmp_path / "d.npz", ["a-1", "a-2", "b-1", "odd", "odd", "b-1", "c"], 7)
    data = open_dataset(DataSettings(source=source))
    assert image_sites(data, "^([a-z])-") == ("a", "a", "b", "odd", "odd", "b", "c")
    joined = write_npz(tmp_path / "e.npz", None, 4)  # equal images are a group, whatever their names say
    arrays = dict(np.load(joined))
    arrays["training_set"][3] = arrays["training_set"][0]
    np.savez(joined, **arrays)
    data = open_dataset(DataSettings(source=joined))
    assert image_sites(data, f"({'|'.join(data.ids)})") == tuple(data.ids[row] for row in (0, 1, 2, 0))


@pytest.mark.parametrize(
    ("site", "text"),
    [
        ("^x(.)", "expected a pattern that fits names of groups, such as '0', got .* change site"),
        ("^.", r"expected one pair of brackets around the site in site, such as '.*', got 0 in \^\."),
        ("(", "expected a regular expression as site"),
        ("^(.)", r"several sites, got \^\(\.\): it gives '0' the site '0', as it does all other names; change"),
    ],
)
def test_a_site_that_fits_nothing_is_refused(tmp_path: Path, cache: Path, site: str, text: str) -> None:
    source = write_npz(tmp_path / "d.npz", ["0", "01", "02", "03"], 4)
    with pytest.raises(EnsError, match=text):
        write_split(DataSettings(source=source), tmp_path / "s.csv", site=site)
    assert not (tmp_path / "s.csv").exists()


def test_sites_that_groups_join_into_one_are_refused(tmp_path: Path, cache: Path) -> None:
    arrays = dict(np.load(write_npz(tmp_path / "d.npz", None, 4)))
    arrays["training_set"][3] = arrays["training_set"][0]  # equal images are a group
    np.savez(tmp_path / "d.npz", **arrays)
    data = open_dataset(DataSettings(source=str(tmp_path / "d.npz")))
    assert data.ids == ("0", "1", "2", "3")
    text = "it gives '0' the site '' and '3' the site '3', but near-duplicates join all sites; change site"
    with pytest.raises(EnsError, match=text):
        image_sites(data, "^()[012]")


def test_an_official_split_takes_no_site(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ensemble.data.write_split.given_split", lambda dataset, settings: ("val", "train"))  # pyright: ignore[reportUnknownLambdaType]
    with pytest.raises(EnsError, match="comes with a split, which is written as it is; leave out site"):
        write_split(DataSettings(source=write_npz(tmp_path / "d.npz", None)), tmp_path / "s.csv", site="(.)")

"""Splits: groups stay whole, rare classes reach every fold, and the same data give the same split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.core.threads import in_threads
from ensemble.data import Dataset, Split, check_classes, group_folds, open_dataset, split_data, split_dataset
from ensemble.data import split as split_module
from ensemble.data.groups import image_groups
from ensemble.data.rarest import rarest_class_per_image
from ensemble.data.split import cut_groups


def test_a_split_without_some_rows_is_another_split() -> None:
    ids = [f"i{row}" for row in range(6)]
    split = Split((np.array([0, 1, 2]), np.array([3, 4])), 6, "whole")
    made = split.without(np.array([1, 5]), ids)
    assert [part.tolist() for part in made.validation] == [[0, 2], [3, 4]]
    assert made.split_hash != split.without(np.array([2]), ids).split_hash
    assert made.split_hash == split.without(np.array([1]), ids).split_hash  # 5 was never scored
    assert made.total == 6
    with pytest.raises(EnsError, match="all validation images of fold 2 are excluded from the score"):
        split.without(np.array([3, 4]), ids)


def problem(images: int, groups: int, seed: int = 0) -> tuple[list[str], list[str], NDArray[np.int64]]:
    """Ids, groups (each at least once) and pixel counts of three classes, the last one in a quarter of the groups."""
    generator = np.random.default_rng(seed)
    group = np.concatenate([np.arange(groups), generator.integers(0, groups, images - groups)])
    counts = generator.integers(0, 50, (images, 3))
    counts[:, 2] = np.where(group % 4 == 0, 1 + counts[:, 2] // 25, 0)
    return [f"i{row}" for row in range(images)], [f"g{number}" for number in group], counts


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[str], list[str], NDArray[np.int64], int, int]:
    folds = draw(st.integers(2, 5))
    groups = draw(st.integers(folds, 12))
    names = [*range(groups), *draw(st.lists(st.integers(0, groups - 1), max_size=20))]
    counts = draw(
        st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=len(names), max_size=len(names))
    )
    return (
        [f"i{row}" for row in range(len(names))],
        [str(name) for name in names],
        np.array(counts, np.int64),
        folds,
        draw(st.integers(-3, 2**40)),
    )


def crossing(split: Split, groups: list[str]) -> set[str]:
    names = np.array(groups)
    found: set[str] = set()
    for fold in range(len(split.validation)):
        found |= set(names[split.validation[fold]]) & set(names[split.training(fold)])
    return found


@settings(max_examples=40, deadline=None)
@given(problems())
def test_folds_are_a_partition_that_keeps_groups_whole(given_: tuple[Any, ...]) -> None:
    ids, groups, counts, folds, seed = given_
    split = split_data(ids, groups, counts, DataSettings(folds=folds, split_seed=seed))
    assert len(split.validation) == folds
    assert all(len(rows) for rows in split.validation)
    assert split.scored.tolist() == list(range(len(ids)))
    assert not crossing(split, groups)
    for fold in range(folds):
        both = np.sort(np.concatenate([split.training(fold), split.validation[fold]]))
        assert both.tolist() == list(range(len(ids)))


@settings(max_examples=30, deadline=None)
@given(problems(), st.floats(0.02, 0.98))
def test_a_hold_out_keeps_groups_whole_and_leaves_both_sides_something(given_: tuple[Any, ...], share: float) -> None:
    ids, groups, counts, _, seed = given_
    split = split_data(ids, groups, counts, DataSettings(val_fraction=share, split_seed=seed))
    assert len(split.validation) == 1
    assert 0 < len(split.scored) < len(ids)
    assert not crossing(split, groups)


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 1 / 3, 0.5, 0.8, 0.98])
def test_a_hold_out_is_about_as_large_as_wished(share: float) -> None:
    ids, groups, counts = problem(400, 200)
    split = split_data(ids, groups, counts, DataSettings(val_fraction=share))
    assert len(split.scored) / 400 == pytest.approx(share, abs=0.02)


def test_a_hold_out_of_few_groups_is_at_least_one() -> None:
    ids, groups, counts = problem(9, 3)
    split = split_data(ids, groups, counts, DataSettings(val_fraction=0.1))
    assert len({groups[row] for row in split.scored}) == 1


@pytest.mark.parametrize("folds", [3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_every_fold_holds_the_rarest_class_where_groups_allow(folds: int, seed: int) -> None:
    ids, groups, counts = problem(80, 40, seed)
    split = split_data(ids, groups, counts, DataSettings(folds=folds, split_seed=seed))
    for rows in split.validation:
        assert (counts[rows].sum(0) > 0).all()
    check_classes(split, counts, ("a", "b", "c"))


def test_as_many_rare_groups_as_folds_are_dealt_one_to_each() -> None:
    counts = np.tile([9, 0], (24, 1))
    counts[[1, 9, 17], 1] = 1
    groups = [str(row // 2) for row in range(24)]
    for seed in range(5):
        folds = group_folds(groups, rarest_class_per_image(counts), 3, seed, counts)
        assert sorted(folds[[1, 9, 17]].tolist()) == [0, 1, 2]


def test_two_rare_classes_that_overlap_both_reach_every_fold() -> None:
    """Strata know one class per image, so the first draw can miss the other one: further draws are tried."""
    counts = np.tile([9, 0, 0], (24, 1))
    counts[[1, 9, 17], 1], counts[[1, 9, 18], 2] = 1, 5
    groups = [str(row) for row in range(24)]
    for seed in range(5):
        folds = group_folds(groups, rarest_class_per_image(counts), 3, seed, counts)
        assert all((counts[folds == fold].sum(0) > 0).all() for fold in range(3))


def test_folds_are_of_similar_size() -> None:
    ids, groups, counts = problem(100, 50)
    sizes = [len(rows) for rows in split_data(ids, groups, counts, DataSettings(folds=5)).validation]
    assert max(sizes) - min(sizes) <= 8


def test_folds_are_searched_once_and_remembered(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups, counts = [f"g{row // 2}" for row in range(40)], np.arange(80).reshape(40, 2) % 7
    searched = list[int]()
    search = split_module._search_folds  # pyright: ignore[reportPrivateUsage]

    def counted(*args: Any) -> NDArray[np.int64]:
        searched.append(args[2])
        return search(*args)

    monkeypatch.setattr(split_module, "_search_folds", counted)
    first, again = (group_folds(groups, rarest_class_per_image(counts), 4, 0, counts) for _ in range(2))
    assert searched == [4]
    others = [([*groups[:-1], "other"], 4, 0), (groups, 5, 0), (groups, 4, 1)]
    for names, folds, seed in others:
        group_folds(names, rarest_class_per_image(counts), folds, seed, counts)
    assert searched == [4, 4, 5, 4]
    for file in cache.iterdir():
        file.write_bytes(file.read_bytes()[:-1])  # damaged: it is searched again
    after = group_folds(groups, rarest_class_per_image(counts), 4, 0, counts)
    assert searched == [4, 4, 5, 4, 4]
    assert first.tolist() == again.tolist() == after.tolist()
    assert first.dtype == again.dtype == np.int64


def test_a_split_is_a_function_of_data_and_seed() -> None:
    ids, groups, counts = problem(60, 30)
    first, again, other, folds = (
        split_data(ids, groups, counts, DataSettings(split_seed=seed, folds=folds))
        for seed, folds in ((0, None), (0, None), (1, None), (0, 5))
    )
    assert first.split_hash == again.split_hash
    assert first.validation[0].tolist() == again.validation[0].tolist()
    assert first.validation[0].tolist() != other.validation[0].tolist()
    assert len({split.split_hash for split in (first, other, folds)}) == 3
    renamed = split_data([f"x{name}" for name in ids], groups, counts, DataSettings())
    assert renamed.split_hash != first.split_hash


def test_the_source_and_its_place_do_not_change_a_split() -> None:
    ids, groups, counts = problem(60, 30)
    first, second = (split_data(ids, groups, counts, DataSettings(source=source)) for source in ("a.npz", "b.npz"))
    assert first.split_hash == second.split_hash


def test_rarest_class_of_each_image() -> None:
    counts = np.array([[100, 0, 0], [100, 1, 0], [100, 1, 5], [0, 0, 5], [0, 0, 0]])
    assert rarest_class_per_image(counts).tolist() == [0, 1, 1, 2, 3]


@pytest.mark.parametrize("folds", [4, 7])
def test_fewer_groups_than_folds_is_refused(folds: int) -> None:
    ids, groups, counts = problem(12, 3)
    with pytest.raises(EnsError, match=f"at least {folds} groups for {folds} folds, got 3 .*use fewer folds or"):
        split_data(ids, groups, counts, DataSettings(folds=folds))


def test_one_group_cannot_be_split() -> None:
    with pytest.raises(EnsError, match=r"all 2 images are in one group \(.*\), so none can be held out"):
        split_data(["a", "b"], ["g", "g"], np.ones((2, 2), np.int64), DataSettings())
    with pytest.raises(EnsError, match="one image cannot be split into training and validation; add images"):
        split_data(["a"], ["g"], np.ones((1, 2), np.int64), DataSettings())


def test_a_class_that_no_mask_holds_is_named() -> None:
    counts = np.array([[0, 5], [0, 5], [0, 3], [0, 5]])
    split = Split((np.array([0, 1]),), 4, "hash")
    with pytest.raises(
        EnsError,
        match=r"'soil' has no labelled pixel in the training images; no image that is used has one, so leave out",
    ):
        check_classes(split, counts, ("soil", "rock"))


def test_one_fold_is_refused_by_the_settings() -> None:
    with pytest.raises(EnsError, match="expected folds of at least 2, got 1"):
        DataSettings(folds=1)


def test_a_class_that_training_would_miss_is_named() -> None:
    counts = np.array([[5, 0], [5, 0], [5, 3], [5, 0]])
    split = Split((np.array([0, 1]), np.array([2, 3])), 4, "hash")
    with pytest.raises(EnsError, match="class 'rock' has no labelled pixel in the training part of fold 2; use"):
        check_classes(split, counts, ("soil", "rock"))
    check_classes(Split((np.array([0]),), 4, "hash"), counts, ("soil", "rock"))


def test_images_without_labels_are_split_too() -> None:
    ids, groups, counts = problem(30, 15)
    counts[::3] = 0
    split = split_data(ids, groups, counts, DataSettings(folds=3))
    assert split.scored.tolist() == list(range(30))


# ---------------------------------------------------------------- splits that are given


def pairs(tmp_path: Path, parts: dict[str, str], **more: str) -> DataSettings:
    """Write pairs of images and masks, a file split.csv, and return the settings that name them."""
    for number, name in enumerate(parts):
        image = np.random.default_rng(number).integers(0, 256, (16, 24), dtype=np.uint8)
        for folder, array in (("images", image), ("masks", image // 128)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / folder / f"{name}.png")
    column = "part" if set(parts.values()) <= {"train", "val", "Valid"} else "fold"
    rows = "".join(f"{name},{part}\n" for name, part in parts.items())
    (tmp_path / more.get("name", "split.csv")).write_text(f"id,{column}\n{rows}")
    return DataSettings(source=str(tmp_path))


def split_of(settings: DataSettings) -> tuple[Split, Dataset]:
    data = open_dataset(settings)
    return split_dataset(data, image_groups(data), settings), data


def test_the_official_validation_part_is_used_whatever_the_seed(tmp_path: Path) -> None:
    settings = pairs(tmp_path, {"a": "train", "b": "Valid", "c": "train", "d": "val", "e.png": "train"})
    split, data = split_of(settings)
    assert [data.ids[row] for row in split.validation[0]] == ["b", "d"]
    assert [data.ids[row] for row in split.training(0)] == ["a", "c", "e.png"]
    other, _ = split_of(settings.model_copy(update={"split_seed": 5, "val_fraction": 0.5}))
    assert other.split_hash == split.split_hash


def test_folds_of_a_file_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    settings = pairs(tmp_path, {"a": "10", "b": "2", "c": "10", "d": "1"}, name="folds.csv")
    split, data = split_of(settings.model_copy(update={"split": str(tmp_path / "folds.csv")}))
    assert [[data.ids[row] for row in rows] for rows in split.validation] == [["d"], ["b"], ["a", "c"]]


def test_a_given_split_can_be_set_aside(tmp_path: Path) -> None:
    settings = pairs(tmp_path, dict.fromkeys("abcdefgh", "train") | {"i": "val"})
    with pytest.raises(EnsError, match=r"come with a split \(train and val\), so folds 3 cannot be made; leave folds"):
        split_of(settings.model_copy(update={"folds": 3}))
    split, _ = split_of(settings.model_copy(update={"folds": 3, "split": "none"}))
    assert sorted(row for rows in split.validation for row in rows) == list(range(9))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "id,part\na,train\nb,test\n",
            r"the parts train and val in .*s\.csv, got test, train; list test images as \[test\]",
        ),
        ("id,part\na,train\n", r"has no part for 1 of 2 images, such as b; add a row"),
        ("id,part\na,train\na,val\nb,val\n", "puts the image a into 'train' and 'val'; keep one"),
        ("id,fold\na,1\nb,1\n", "at least two folds in .*, got 1; correct it, or write a column part"),
        ("name,part\na,train\nb,val\n", r"the columns id, and part or fold, in .*, got \['name', 'part'\]"),
    ],
)
def test_a_split_that_does_not_fit_is_refused(tmp_path: Path, text: str, message: str) -> None:
    settings = pairs(tmp_path, {"a": "train", "b": "val"})
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(EnsError, match=message):
        split_of(settings.model_copy(update={"split": str(tmp_path / "s.csv")}))


def test_groups_that_a_given_split_cuts_are_named(tmp_path: Path) -> None:
    split = Split((np.array([0, 1]), np.array([2])), 4, "hash")
    assert cut_groups(split, ["x", "y", "x", "z"]) == ["x"]
    assert cut_groups(split, ["x", "x", "y", "z"]) == []


def test_threads_that_split_at_once_warn_of_nothing() -> None:
    groups = ["0", "0", "1", "1", "4", "4", "7", "7", "8", "8"]
    strata_n, counts_nk = np.array([0, 0, 3, 0, 3, 1, 3, 0, 3, 3]), np.ones((10, 2), np.int64)
    found = in_threads(lambda seed: group_folds(groups, strata_n, 3, seed, counts_nk), range(200))
    assert all(len(np.unique(fold_n)) == 3 for fold_n in found)

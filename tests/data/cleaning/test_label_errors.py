"""Masks that all members contradict: hand-worked counts, planted wrong masks, members that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.data import VOID, Dataset, open_dataset
from ensemble.data.cleaning import label_errors as module
from ensemble.data.cleaning.label_errors import contradictions
from ensemble.report.check_data import contradicted_by_members
from ensemble.runs.member import Member

MakeMember = Callable[..., Member]
MakeWorld = Callable[..., Any]
WRONG = {3: (1, 2), 11: (3, 1)}  # image: class that is there, class its mask says instead


@pytest.fixture
def world(tmp_path: Path, make_world: MakeWorld) -> Any:
    """Twenty images whose masks are right; members are simulated on these."""
    drawn = make_world(images=20, size=(32, 32))
    for row, (there, _) in WRONG.items():
        drawn.masks_nhw[row][drawn.masks_nhw[row] != 0] = there
    return drawn


@pytest.fixture
def dataset(tmp_path: Path, world: Any) -> Dataset:
    """The same images with two masks that say another class than is there."""
    masks = world.masks_nhw.copy()
    for row, (there, said) in WRONG.items():
        masks[row][masks[row] == there] = said
    images = np.random.default_rng(0).integers(0, 255, masks.shape).astype(np.uint8)
    classes = np.array(["background", *world.classes])
    np.savez(tmp_path / "d.npz", training_set=np.stack([images, masks], 1), classes=classes)
    return open_dataset(DataSettings(source=str(tmp_path / "d.npz")))


@pytest.fixture
def member(tmp_path: Path, world: Any, dataset: Dataset, make_member: MakeMember) -> Callable[..., Member]:
    """Makes a member that sees what is there, with a store that holds what the masks say."""
    masks = dataset.source.masks(range(20))

    def run(name: str, quality: float = 4.0, rows: range = range(20), seen: Any = None, **more: Any) -> Member:
        probs = _probabilities(world.masks_nhw if seen is None else seen, quality, len(name))
        chosen = replace(
            world,
            masks_nhw=masks[list(rows)],
            ids=dataset.ids[rows.start : rows.stop],
            groups=world.groups[: len(rows)],
        )
        data_hash = more.pop("data_hash", dataset.data_hash)
        chosen = replace(chosen, source=str(tmp_path / "d.npz"), data_hash=data_hash)
        return make_member(tmp_path / "runs", name, world=chosen, probs=probs[list(rows)], **more)

    return run


def _probabilities(masks_nhw: Any, quality: float, seed: int) -> Any:
    truth = (masks_nhw[:, None] == np.arange(1, 5)[None, :, None, None]).astype(np.float64)
    exp = np.exp(quality * truth + np.random.default_rng(seed).normal(size=truth.shape))
    return (exp / exp.sum(1, keepdims=True)).astype(np.float32)


# ---------------------------------------------------------------- one image by hand


def test_contradictions_by_hand() -> None:
    labels = np.array([[0, 0, 0, 0, 0, 1, VOID]], np.uint8)
    first = [0.2, 0.2, 0.2, 0.6, 0.2, 0.3, 0.1]  # probability of class 0
    second = [0.1, 0.4, 0.7, 0.1, 0.1, 0.1, 0.1]
    probs = np.array([[[first], [1 - np.array(first)]], [[second], [1 - np.array(second)]]], np.float32)
    sure = np.array([[0.5, 0.7], [0.5, 0.8]])
    # 1: 0.8 / 0.7 and 0.9 / 0.8 are above 1; 2: 0.8 / 0.7 and 0.6 / 0.8 are 0.95 on average; 3 and 4: one member
    # agrees with the mask; 5: as 1; 6: the mask is right.
    counts, labelled = contradictions(probs, labels, sure)
    assert counts.tolist() == [[0, 2], [0, 0]]
    assert labelled == 6
    counts, _ = contradictions(probs[:1], labels, sure[:1])
    assert counts.tolist() == [[0, 4], [0, 0]]


def test_members_must_agree_on_the_other_class() -> None:
    probs = np.array([[[[0.1]], [[0.8]], [[0.1]]], [[[0.1]], [[0.1]], [[0.8]]]], np.float32)
    counts, labelled = contradictions(probs, np.zeros((1, 1), np.uint8), np.full((2, 3), 0.5))
    assert counts.sum() == 0
    assert labelled == 1


@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_every_member_must_contradict_and_void_takes_pixels_away(seed: int, members: int) -> None:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet([0.5] * 3, (members, 6, 5)).transpose(0, 3, 1, 2).astype(np.float32)
    labels = rng.integers(0, 3, (6, 5)).astype(np.uint8)
    sure = rng.uniform(0.2, 0.8, (members, 3))
    counts, labelled = contradictions(probs, labels, sure)
    assert labelled == 30
    for member in probs:
        wrong = [[((labels == a) & (member.argmax(0) == b) & (a != b)).sum() for b in range(3)] for a in range(3)]
        assert (counts <= wrong).all()
    void = rng.random((6, 5)) < 0.5
    fewer, left = contradictions(probs, np.where(void, VOID, labels).astype(np.uint8), sure)
    assert (fewer <= counts).all()
    assert labelled - left == void.sum()


# ---------------------------------------------------------------- planted wrong masks


def test_wrong_masks_are_found_and_no_others(dataset: Dataset, member: Callable[..., Member]) -> None:
    found = contradicted_by_members(dataset, [member("a"), member("bb")])
    assert {one.row for one in found} == set(WRONG)
    assert all(one.reason == "members-disagree" and one.id == dataset.ids[one.row] for one in found)
    assert {one.detail for one in found} == {
        "all 2 members predict soil on pixels with the label bedrock",
        "all 2 members predict sand on pixels with the label soil",
    }
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_the_score_is_the_share_of_labelled_pixels(
    dataset: Dataset, world: Any, member: Callable[..., Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 0.0)
    only = member("a")
    found = {one.row: one for one in contradicted_by_members(dataset, [only])}
    (_, probs, labels), *_ = list(only.store().batches(20))
    assert labels is not None
    sure = [probs[:, k][labels == k].mean() for k in range(4)]
    for row in range(20):
        inside = labels[row] != VOID
        said = probs[row].argmax(0)[inside]
        against = (said != labels[row][inside]) & (probs[row].max(0)[inside] >= np.take(sure, said))
        assert found[row].score == pytest.approx(against.mean()) if against.any() else row not in found
    assert found[3].detail == "the member predicts soil on pixels with the label bedrock"


def test_one_member_that_agrees_with_the_mask_clears_it(
    dataset: Dataset, world: Any, member: Callable[..., Member]
) -> None:
    convinced = replace(world, masks_nhw=world.masks_nhw.copy())
    convinced.masks_nhw[3] = dataset.source.masks([3])[0]
    trio = [member("a"), member("bb"), member("ccc", seen=convinced.masks_nhw)]
    assert [one.row for one in contradicted_by_members(dataset, trio)] == [11]


def test_rows_are_those_of_the_data_for_a_hold_out(dataset: Dataset, member: Callable[..., Member]) -> None:
    held = [member(name, rows=range(8, 14)) for name in ("a", "bb")]
    ticks: list[tuple[str, int, int]] = []
    found = contradicted_by_members(dataset, held, lambda task, done, total, *_: ticks.append((task, done, total)))
    assert [(one.row, one.id) for one in found] == [(11, "11")]
    assert ticks == [("measuring how sure members are", 6, 6), ("comparing masks with predictions", 6, 6)]


def test_members_that_know_nothing_contradict_nothing(dataset: Dataset, member: Callable[..., Member]) -> None:
    assert contradicted_by_members(dataset, [member("a", quality=0.0), member("bb", quality=0.0)]) == []


def test_members_of_other_data_are_refused(dataset: Dataset, member: Callable[..., Member]) -> None:
    with pytest.raises(EnsError, match=r"trained on other data than d\.npz; choose members that were trained on these"):
        contradicted_by_members(dataset, [member("a", data_hash="f" * 32)])
    with pytest.raises(EnsError, match="was trained on another data than"):
        contradicted_by_members(dataset, [member("a"), member("bb", data_hash="f" * 32)])

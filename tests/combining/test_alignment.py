"""Members meet only where they saw the same images, split and classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.combining import alignment as module
from ensemble.combining.alignment import align, select
from ensemble.core.errors import EnsError
from ensemble.evaluation.void import VOID
from ensemble.runs.member import Member
from ensemble.runs.store import Reader

MakeMember = Callable[..., Member]
MakeWorld = Callable[..., Any]


def everything(aligned: Any, size: int = 32) -> tuple[Any, Any]:
    parts = list(aligned.batches(size))
    return np.concatenate([part[1] for part in parts], 1), np.concatenate([part[2] for part in parts])


def test_probabilities_and_labels_come_back_in_order(
    tmp_path: Path, make_member: MakeMember, make_world: MakeWorld
) -> None:
    world = make_world()
    members = [make_member(tmp_path, name, world=world) for name in ("unet", "pspnet")]
    aligned = align(members)
    probs, labels = everything(aligned)
    assert aligned.names == tuple(member.name for member in members)
    assert aligned.classes == world.classes
    assert list(aligned.ids) == list(world.ids)
    assert list(aligned.groups) == list(world.groups)
    assert (labels == world.masks_nhw - np.uint8(1)).all()
    for index, member in enumerate(members):
        stored = np.concatenate([batch[1] for batch in member.store().batches(32)])
        assert (probs[index] == stored).all()


@pytest.mark.parametrize("size", [1, 3, 20])
def test_the_batch_size_changes_nothing(tmp_path: Path, make_member: MakeMember, size: int) -> None:
    aligned = align([make_member(tmp_path, "unet"), make_member(tmp_path, "pspnet", background="class")])
    rows = [part[0] for part in aligned.batches(size)]
    assert [row for each in rows for row in range(each.start, each.stop)] == list(range(20))
    for one, other in zip(everything(aligned, size), everything(aligned), strict=True):
        assert (one == other).all()


@pytest.mark.parametrize(("most", "times"), [(1 << 20, 1), (0, 2)])
def test_small_stores_are_unpacked_once_for_all_passes(
    tmp_path: Path, make_member: MakeMember, monkeypatch: pytest.MonkeyPatch, most: int, times: int
) -> None:
    unpacked: Counter[tuple[Path, int]] = Counter()
    unpack = Reader.unpack

    def counted(self: Any, index: int) -> Any:
        unpacked[self._path, index] += 1
        return unpack(self, index)

    monkeypatch.setattr(module, "KEPT_BYTES", most)
    monkeypatch.setattr(Reader, "unpack", counted)
    aligned = align([make_member(tmp_path, "unet"), make_member(tmp_path, "pspnet")])
    for one, other in zip(everything(aligned), everything(aligned), strict=True):
        assert (one == other).all()
    assert set(unpacked.values()) == {times}
    assert len({path for path, _ in unpacked}) == 2


# ---------------------------------------------------------------- refusals


def test_members_of_other_data_are_refused_by_name(
    tmp_path: Path, make_member: MakeMember, make_world: MakeWorld
) -> None:
    one = make_member(tmp_path, "unet")
    other = make_member(tmp_path, "pspnet", world=make_world(data_hash="f" * 32))
    text = f"{other.name} was trained on another data than {one.name}; combine members with the same data, folds"
    with pytest.raises(EnsError, match=text):
        align([one, other])


def test_members_of_another_split_are_refused_by_name(
    tmp_path: Path, make_member: MakeMember, make_world: MakeWorld
) -> None:
    one, two = make_member(tmp_path, "unet"), make_member(tmp_path, "linknet")
    other = make_member(tmp_path, "pspnet", world=make_world(split_hash="f" * 32))
    with pytest.raises(
        EnsError, match=f"{other.name} was trained on another split than {one.name}.*combine members with"
    ):
        align([one, two, other])


def test_a_store_of_another_split_is_refused(tmp_path: Path, make_member: MakeMember, make_world: MakeWorld) -> None:
    one = make_member(tmp_path, "unet")
    stranger = make_member(tmp_path, "pspnet", world=make_world(split_hash="f" * 32))
    pretender = Member(stranger.path, stranger.settings, one.facts)
    with pytest.raises(EnsError, match=f"{stranger.name} was trained on another split"):
        align([one, pretender])


def test_other_images_of_the_same_split_are_refused(
    tmp_path: Path, make_member: MakeMember, make_world: MakeWorld
) -> None:
    world = make_world()
    swapped = replace(world, ids=[world.ids[1], world.ids[0], *world.ids[2:]])
    one, other = make_member(tmp_path, "unet", world=world), make_member(tmp_path, "pspnet", world=swapped)
    with pytest.raises(EnsError, match=f"{other.name} stores other images than {one.name}; train one of the two again"):
        align([one, other])


def test_a_class_that_only_one_member_scores_is_refused(
    tmp_path: Path, make_member: MakeMember, make_world: MakeWorld
) -> None:
    fewer = make_world(classes=("soil", "bedrock", "sand"))
    one, other = make_member(tmp_path, "unet"), make_member(tmp_path, "pspnet", world=fewer)
    with pytest.raises(EnsError, match=f"{one.name} scores the class with id 4, but another member does not"):
        align([one, other])


def test_classes_of_other_names_are_refused(tmp_path: Path, make_member: MakeMember, make_world: MakeWorld) -> None:
    renamed = make_world(classes=("soil", "bedrock", "water", "big rock"))
    one, other = make_member(tmp_path, "unet"), make_member(tmp_path, "pspnet", world=renamed)
    with pytest.raises(EnsError, match=f"class 3 is 'sand' in {one.name} but 'water' in {other.name}"):
        align([one, other])


def test_a_split_that_was_not_predicted_is_refused(tmp_path: Path, make_member: MakeMember) -> None:
    with pytest.raises(EnsError, match="test"):
        align([make_member(tmp_path, "unet"), make_member(tmp_path, "pspnet")], "test")


# ---------------------------------------------------------------- background


@pytest.mark.parametrize("order", [["void", "class", "zero-weight"], ["class", "void", "zero-weight"]])
def test_members_with_and_without_background_meet_in_the_classes_they_share(
    tmp_path: Path, make_member: MakeMember, make_world: MakeWorld, order: list[str]
) -> None:
    world = make_world()
    members = [make_member(tmp_path, f"net{i}", background=each, world=world) for i, each in enumerate(order)]
    aligned = align(members)
    probs, labels = everything(aligned)
    assert aligned.classes == world.classes
    assert probs.shape[:3] == (3, 20, 4)
    assert (labels == np.where(world.masks_nhw == 0, VOID, world.masks_nhw - np.uint8(1))).all()
    np.testing.assert_allclose(probs.sum(2), 1, atol=1e-5)
    whole = np.concatenate([batch[1] for batch in members[order.index("class")].store().batches(32)])
    kept = whole[:, 1:] / whole[:, 1:].sum(1, keepdims=True)
    np.testing.assert_allclose(probs[order.index("class")], kept, rtol=1e-4, atol=1e-6)


def test_members_that_all_score_the_background_keep_it(tmp_path: Path, make_member: MakeMember) -> None:
    members = [make_member(tmp_path, name, background="class") for name in ("unet", "pspnet")]
    aligned = align(members)
    assert aligned.classes == ("background", "soil", "bedrock", "sand", "big rock")
    assert (everything(aligned)[1] != VOID).all()


def test_members_of_an_ensemble_give_its_classes_without_those_that_lack_the_background(
    tmp_path: Path, make_member: MakeMember, make_world: MakeWorld
) -> None:
    world, modes = make_world(), ("void", "class", "class")
    members = [make_member(tmp_path, f"net{i}", background=each, world=world) for i, each in enumerate(modes)]
    every, two = align(members), align(members[1:], only=world.classes)
    assert two.classes == every.classes == world.classes
    np.testing.assert_array_equal(everything(two)[0], everything(every)[0][1:])
    np.testing.assert_array_equal(everything(two)[1], everything(every)[1])


def test_select_renormalises_and_returns_all_channels_as_they_are() -> None:
    probs = np.array([0.5, 0.3, 0.2, 0.0], np.float32).reshape(1, 4, 1, 1)
    assert select(probs, range(4)) is probs
    np.testing.assert_allclose(select(probs, (2, 1)).ravel(), [0.4, 0.6], rtol=1e-6)
    certain_background = np.array([1, 0, 0], np.float32).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(select(certain_background, (1, 2)).ravel(), [0.5, 0.5])

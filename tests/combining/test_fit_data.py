"""What is read from the members' stores to fit on: labelled pixels, evenly thinned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ensemble.combining.fit_data
from ensemble.combining.alignment import align
from ensemble.combining.fit_data import FitData, gather_fit_data
from ensemble.core.errors import EnsError
from ensemble.evaluation.void import VOID
from ensemble.runs.member import Member

MakeMember = Callable[..., Member]
MakeWorld = Callable[..., Any]


def everything(aligned: Any, size: int = 32) -> tuple[Any, Any]:
    parts = list(aligned.batches(size))
    return np.concatenate([part[1] for part in parts], 1), np.concatenate([part[2] for part in parts])


def test_fit_data_is_the_probabilities_at_every_labelled_pixel(tmp_path: Path, make_member: MakeMember) -> None:
    aligned = align([make_member(tmp_path, "unet"), make_member(tmp_path, "pspnet")])
    found = gather_fit_data(aligned)
    probs, labels = everything(aligned)
    expected = [(probs[:, n, :, y, x], n, labels[n, y, x]) for n, y, x in zip(*np.nonzero(labels != VOID), strict=True)]
    assert (found.probs_mcp == np.stack([each[0] for each in expected], 2)).all()
    assert (found.true_probs_pm == np.array([each[0][:, each[2]] for each in expected])).all()
    assert (found.group_n == np.arange(20) // 2).all()
    assert found.image_p.tolist() == [each[1] for each in expected]
    assert found.labels_p.tolist() == [each[2] for each in expected]
    assert (found.classes, found.members) == (4, 2)


def test_many_pixels_are_thinned_evenly_whatever_the_batch(
    tmp_path: Path, make_member: MakeMember, monkeypatch: pytest.MonkeyPatch
) -> None:
    aligned = align([make_member(tmp_path, "unet"), make_member(tmp_path, "pspnet")])
    full = gather_fit_data(aligned)
    monkeypatch.setattr(ensemble.combining.fit_data, "FIT_PIXELS", 150)
    thin = gather_fit_data(aligned)
    step = -(-20 * 6 * 8 // 150)
    assert (thin.probs_mcp == full.probs_mcp[:, :, ::step]).all()
    assert (thin.image_p == full.image_p[::step]).all()
    assert len(thin.image_p) <= 150
    batches = type(aligned).batches
    monkeypatch.setattr(type(aligned), "batches", lambda self: batches(self, 3))
    assert (gather_fit_data(aligned).probs_mcp == thin.probs_mcp).all()
    assert (gather_fit_data(aligned).image_p == thin.image_p).all()


def test_void_only_is_refused(tmp_path: Path, make_member: MakeMember, make_world: MakeWorld) -> None:
    world = make_world()
    empty = replace(world, masks_nhw=np.zeros_like(world.masks_nhw))
    members = [make_member(tmp_path, name, world=empty) for name in ("unet", "pspnet")]
    with pytest.raises(EnsError, match="expected labelled pixels to fit and score on, got only void"):
        gather_fit_data(align(members))


def test_reading_tells_its_progress(tmp_path: Path, make_member: MakeMember) -> None:
    seen: list[tuple[str, int, int]] = []
    aligned = align([make_member(tmp_path, "unet"), make_member(tmp_path, "pspnet")])
    gather_fit_data(aligned, lambda task, done, total, note="": seen.append((task, done, total)))
    assert seen == [("reading probabilities", 20, 20)]


def test_only_the_pixels_that_a_fit_needs_are_copied(tmp_path: Path, make_member: MakeMember) -> None:
    aligned = align([make_member(tmp_path, "unet"), make_member(tmp_path, "pspnet")])
    whole = gather_fit_data(aligned, neighbourhood=True)
    chosen_n = np.arange(20) % 3 > 0
    inside_p = chosen_n[whole.image_p]
    copied: list[int] = []

    def copy(self: FitData, pixels: Any) -> FitData:
        copied.append(len(self.labels_p[pixels]))
        return of_pixels(self, pixels)

    of_pixels = FitData.of_pixels
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FitData, "of_pixels", copy)
        part = whole.of_images(chosen_n)
        assert (part.members, part.classes, part.pixels) == (2, 4, inside_p.sum())
        thin = part.thin(100)
        members, tempered = part.of_members([1]), part.tempered(np.array([1.0, 2.0]))
        _, (_, held) = part.splits(2)
    step = -(-int(inside_p.sum()) // 100)
    assert copied[:2] == [thin.pixels, part.pixels]
    assert part.pixels not in copied[2:]  # once for all that need every pixel

    assert whole.near_mcp is not None
    for table, found in ((whole.probs_mcp, part.probs_mcp), (whole.near_mcp, part.near_mcp)):
        np.testing.assert_array_equal(found, table[:, :, inside_p])
    np.testing.assert_array_equal(thin.near_mcp, whole.near_mcp[:, :, inside_p][:, :, ::step])
    np.testing.assert_array_equal(thin.probs_mcp, whole.probs_mcp[:, :, inside_p][:, :, ::step])
    np.testing.assert_array_equal(thin.labels_p, whole.labels_p[inside_p][::step])
    np.testing.assert_array_equal(members.probs_mcp, whole.probs_mcp[1:, :, inside_p])
    np.testing.assert_array_equal(tempered.probs_mcp[0], whole.probs_mcp[0][:, inside_p])
    assert set(held.image_p.tolist()) < set(np.flatnonzero(chosen_n).tolist())
    np.testing.assert_array_equal(part.true_probs_pm, whole.true_probs_pm[inside_p])

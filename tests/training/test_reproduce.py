"""Reproduction: a member that is trained again has the same bits."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ensemble.core.errors import EnsError
from ensemble.runs.member import Member
from ensemble.training.reproduce import reproduce

Train = Callable[..., Member]
Content = Callable[[Path], dict[str, object]]


def test_the_same_bits_come_out_in_a_temporary_folder_that_goes(
    member: Path, content_of: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    before, tasks = content_of(member), set[str]()
    found = reproduce(member, progress=lambda task, *_: tasks.add(task))
    assert found.exact
    assert (found.files, found.weights, found.pixels, found.scores_apart, found.epoch) == ((), 0, 0, 0, None)
    assert (found.name, found.path, found.environment) == (member.name, None, {})
    assert set(found.scores) == {"miou", "pixel_accuracy", "log_loss", "ece", "iou soil", "iou rock", "iou ripples"}
    assert {"training fold 1 of 2", "training fold 2 of 2"} <= tasks
    assert content_of(member) == before
    assert list((tmp_path / "temporary").iterdir()) == []


def test_the_repetition_is_kept_and_resumed(
    member: Path, content_of: Content, interrupt: Callable[[str, int], Any], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        reproduce(member, out=tmp_path / "again", progress=interrupt("training fold 2 of 2", 1))
    found = reproduce(member, out=tmp_path / "again")
    assert found.exact
    assert found.path == tmp_path / "again" / "members" / member.name
    assert found.path is not None
    assert content_of(found.path) == content_of(member)
    ticks: list[str] = []
    assert reproduce(member, out=tmp_path / "again", progress=lambda task, *_: ticks.append(task)).exact
    assert not any(task.startswith("training") for task in ticks)  # it is there


def test_a_member_is_not_compared_with_itself(member: Path) -> None:
    with pytest.raises(EnsError, match=rf"runs is the folder of {member.name} itself; choose another"):
        reproduce(member, out=member.parent.parent)

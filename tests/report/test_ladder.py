"""The steps of an ablation are found and described."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ensemble.comparison import compare_runs
from ensemble.config import Component, DataSettings, MemberSettings
from ensemble.core.registry import IMPORTED
from ensemble.report.ladder import changes, ladder, longest_ladder
from ensemble.report.report_data import read_report_data
from ensemble.runs.member import Member


def member_settings(**more: Any) -> MemberSettings:
    content: dict[str, Any] = {"architecture": Component(name="unet"), "loss": Component(name="ce"), "epochs": 3}
    return MemberSettings(**content | more)


def test_changes_are_described_in_words() -> None:
    base = member_settings(architecture=Component(name="unet", options={"filters": 16}))
    cases = {
        "loss ce \u2192 dice": {"loss": Component(name="dice")},
        "architecture unet \u2192 pan": {"architecture": Component(name="pan")},
        "architecture: filters 16 \u2192 24": {"architecture": Component(name="unet", options={"filters": 24})},
        "background none \u2192 void": {"data": DataSettings(background="void")},
        "exclude 0 \u2192 2 images": {"exclude": ("a", "b")},
        "batch size 32 \u2192 8": {"batch_size": 8},
        "seed 0 \u2192 1": {"seed": 1},
    }
    for words, change in cases.items():
        assert changes(base, base.model_copy(update=change)) == [words]
    assert changes(base, base.model_copy(update={"device": "cuda", "threads": 8, "precision": "bf16"})) == []
    budgets = [base.model_copy(update={"budget_seconds": 60.0, "epochs": epochs}) for epochs in (5, 7)]
    assert changes(*budgets) == []  # measured epochs
    imported = member_settings(architecture=Component(name="unet", origin=IMPORTED))
    assert changes(base, imported) is None


def test_sizes_are_heights_and_widths() -> None:
    base = member_settings()
    cropped, resized = member_settings(crop=(64, 64)), member_settings(input_size=(64, 96))
    assert changes(cropped, member_settings(crop=(128, 160))) == ["crop 64x64 \u2192 128x160"]
    assert changes(base, cropped) == ["crop none \u2192 64x64"]
    assert changes(resized, base) == ["input size 64x96 \u2192 none"]


def with_settings(member: Member, finished: str, **more: Any) -> Member:
    changed = Member(member.path, member.settings.model_copy(update=more), member.facts)
    changed.__dict__["status"] = {"finished": finished}
    return changed


def test_the_longest_ladder_follows_the_order_of_training(make_member: Callable[..., Member], tmp_path: Path) -> None:
    member = make_member(tmp_path)
    dice, tversky, pan = Component(name="dice"), Component(name="tversky"), Component(name="pan")
    first = with_settings(member, "1")
    second = with_settings(member, "2", loss=dice)
    third = with_settings(member, "3", loss=dice, architecture=pan)
    stray = with_settings(member, "4", loss=tversky, sampler="rare", architecture=pan)
    again = with_settings(member, "5", loss=dice, architecture=pan, seed=1)
    rungs = longest_ladder([again, stray, third, first, second])
    assert [rung for rung, _ in rungs] == [first, second, third]
    assert [change for _, change in rungs] == ["", "loss ce \u2192 dice", "architecture unet \u2192 pan"]
    assert longest_ladder([first, stray]) == []
    assert longest_ladder([third, again]) == []  # another seed is no step
    assert longest_ladder([]) == []


def test_ladder_of_real_runs(made: tuple[Path, Any]) -> None:
    data = read_report_data(made[0])
    frame, real = ladder(data)
    assert real is True
    assert frame["name"].tolist() == ["net-b-0-ce", "net-b-1-ce", "net-b-2-ce", "average-3"]
    assert frame["change"].tolist()[1] == "architecture net<b>0 \u2192 net<b>1"
    paths = {member.name: member.path for member in data.members}
    names = sorted(paths)
    (pair,) = compare_runs([paths[names[1]], paths[names[0]]]).of()
    miou, gain, low, high = (frame[name].tolist() for name in ("miou", "gain", "gain_low", "gain_high"))
    assert gain[1] == pytest.approx(miou[1] - miou[0])
    assert (low[1], high[1]) == (pair.estimate.low, pair.estimate.high)
    featured = data.featured
    assert featured is not None
    difference = featured.scores["verdict"]["differences"]["method - member"]
    assert gain[3] == difference["difference"]
    alone = read_report_data(made[0], featured.name)
    pd.testing.assert_frame_equal(ladder(alone)[0], frame)

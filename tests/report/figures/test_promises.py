"""The figure of a promise shows what the rule of promises gives, and the report says why where it cannot be drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ensemble.combining.held_out import HeldOut
from ensemble.combining.promises import gather_evidence
from ensemble.evaluation.promises import NEAR_ONE, GroupCounts, abstain
from ensemble.report import figures
from ensemble.report.figures.promises import abstaining_chart
from ensemble.report.report_data import read_report_data

MakeRuns = Callable[..., Path]


def sides(groups: int) -> tuple[GroupCounts, GroupCounts]:
    random, counts = np.random.default_rng(0), (GroupCounts(NEAR_ONE), GroupCounts(NEAR_ONE))
    for group in range(groups):
        sure = random.random(300, np.float32) ** np.float32(0.3)
        right = random.random(300) < sure
        counts[0].add(group, sure[right])
        counts[1].add(group, sure[~right])
    return counts


def test_both_lines_are_those_of_the_rule() -> None:
    right, wrong = sides(12)
    (axis,) = figures.abstaining_figure(right, wrong).axes
    found, promised = (np.asarray(line.get_xydata()) / 100 for line in axis.lines)
    total = sum(int(counts.reaching(list(range(12)))[:, 0].sum()) for counts in (right, wrong))
    assert found[-1] == pytest.approx([1, wrong.reaching(list(range(12)))[:, 0].sum() / total])
    for kept, error in promised[::7]:
        assert kept == pytest.approx(abstain(right, wrong, float(error)).kept)
    assert (np.diff(promised, axis=0) >= 0).all()
    # a promise keeps fewer pixels than the groups seen would allow
    assert (np.interp(promised[:, 0], *found.T) <= promised[:, 1] + 1e-3).all()


def test_nine_groups_promise_nothing() -> None:
    (axis,) = figures.abstaining_figure(*sides(9)).axes
    assert [line.get_label() for line in axis.lines] == ["found in the validation images"]


def test_the_report_shows_the_featured_ensemble(make_runs: MakeRuns, tmp_path: Path) -> None:
    runs = make_runs(tmp_path)
    data = read_report_data(runs)
    assert data.featured is not None
    chart = abstaining_chart(data)
    assert chart is not None
    evidence = gather_evidence(HeldOut.of(data.featured))
    error = abstain(evidence.right, evidence.wrong, 0.1)
    words = (
        "no error of 10 % or less is promised" if error.threshold is None else f"10 % keeps {100 * error.kept:.0f} %"
    )
    assert words in chart.alt
    groups = len({*evidence.right.groups, *evidence.wrong.groups})
    assert (f"because {groups} groups of images are held out and a promise takes 10" in chart.alt) == (groups < 10)
    assert chart.alt in chart.caption
    assert chart.draw().axes
    older = replace(data, ensembles=[replace(data.featured, fold_pools=())], notes=[])
    assert abstaining_chart(older) is None
    assert older.notes == [
        f"The figures leave out what {data.featured.name} promises: expected an ensemble that keeps the pools of its"
        f" folds, but an older version made {data.featured.name}; combine its members again."
    ]
    assert abstaining_chart(replace(data, ensembles=[])) is None

"""Numbers of groups and seeds that a difference needs, from members on disk."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from ensemble.comparison import compare_runs, factor_effect, power
from ensemble.comparison.runs import open_run
from ensemble.comparison.t_tests import needed_groups
from ensemble.core.errors import EnsError
from ensemble.core.files import file_digest, read_json, sealed, write_json
from ensemble.evaluation.paired import Draws


def test_numbers_needed_follow_from_the_variance_at_hand(grid: list[Path]) -> None:
    found = power([grid[0], grid[3]], 0.02, others=grid, resamples=2000)
    (pair,) = found.pairs
    scores = compare_runs([grid[0], grid[3]], resamples=2000).of()[0]
    assert pair.spread == pytest.approx(abs(scores.estimate.difference / scores.effect_size))
    assert 0.05 < pair.power < 1
    first, second = (open_run(grid[place]) for place in (0, 3))
    draws = Draws.of(first.groups, resamples=2000)
    scores_r = [draws.iou(run.confusions_nkp) for run in (first, second)]
    needed = needed_groups(0.02, pair.spread, len(set(first.groups)), scores_r[0].minus(scores_r[1]).freedom)
    assert pair.safe_groups >= pair.groups == needed > 2
    assert pair.images == 2 * pair.groups
    assert found.seeds is not None
    assert found.seeds.freedom == 4  # each run counts once, named or not
    assert found.seeds.noise == pytest.approx(factor_effect(grid, "architecture").noise)
    assert found.seeds.safe_seeds >= found.seeds.seeds >= 2
    assert found.sentence.startswith(f"To see 2 points of mIoU between {grid[0].name} and {grid[3].name} in four of")
    harder = power([grid[0], grid[3]], 0.005, resamples=500)
    assert harder.pairs[0].groups > 10 * pair.groups
    assert harder.seeds is None
    assert "no two runs differ in the seed only" in harder.sentence


def test_many_pairs_are_the_steadiest_the_median_and_the_most_variable(grid: list[Path]) -> None:
    found = power(grid, 0.01, resamples=300)
    assert len(found.pairs) == 3
    assert found.pairs[0].spread < found.pairs[1].spread < found.pairs[2].spread
    assert found.table().columns[0] == "a"
    least, _, most = found.pairs
    pairs = f"{least.a} and {least.b} (the steadiest pair) or {most.a} and {most.b} (the most variable) in four of"
    assert found.sentence.startswith(f"To see 1 point of mIoU between {pairs}")
    low, high = sorted((least.groups, most.groups))
    assert f"cases, {low:,.0f} to {high:,.0f} groups of images" in found.sentence
    assert f"in {min(least.power, most.power):.0%} to {max(least.power, most.power):.0%} of" in found.sentence


def test_power_of_what_makes_no_sense_is_refused(grid: list[Path]) -> None:
    for wrong in (0.0, -0.01, 1.0, math.nan):
        with pytest.raises(EnsError, match="expected a difference between 0 and 100 points of mIoU"):
            power(grid, wrong)
    with pytest.raises(EnsError, match="expected at least two runs to estimate the variance, got 1"):
        power(grid[:1], 0.01)
    (grid[1] / "confusions.npz").write_bytes((grid[0] / "confusions.npz").read_bytes())
    status = read_json(grid[1] / "status.json")
    status["files"]["confusions.npz"] = file_digest(grid[1] / "confusions.npz")
    write_json(grid[1] / "status.json", sealed(status))
    with pytest.raises(EnsError, match="predict the same on all images"):
        power(grid[:2], 0.01)

"""What a budget or a cascade saves and costs: shares with intervals, and promises of no more than is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from ensemble.combining.cheaper import Promise, promise_of, share_of
from ensemble.combining.kept_gain import kept_interval
from ensemble.combining.stopping import StoppedEarly


def stopped(groups: int, gain: float, seed: int = 0, members: int = 4) -> tuple[StoppedEarly, list[str]]:
    """Simulate a cascade that keeps 90 % of the gain."""
    random, images = np.random.default_rng(seed), 3 * groups
    group_n = np.arange(images) // 3
    gain_n = gain + 0.5 * random.normal(size=groups)[group_n] + 0.5 * random.normal(size=images)
    kept_n = 0.9 * gain_n + 0.1 * random.normal(size=images)
    first_n = 5 + random.random(images)
    evaluated_n = random.integers(1, members + 1, images)
    unsure_n = np.abs(gain_n) + random.random(images)
    table = np.stack([first_n, first_n - kept_n, first_n - gain_n]), np.stack([unsure_n] * 3)
    found = StoppedEarly(first_n, first_n - kept_n, first_n - gain_n, evaluated_n, members, *table, 0.9)
    return found, [f"g{group}" for group in group_n]


def test_shares_are_ratios_of_sums() -> None:
    found, groups = stopped(40, 1.0)
    promise = promise_of(found, groups)
    assert promise.kept.share == pytest.approx(
        (found.first_n - found.stopped_n).sum() / (found.first_n - found.full_n).sum()
    )
    limits = kept_interval(found, groups)
    assert (promise.kept.low, promise.kept.high) == (limits.low, limits.high)
    assert promise.evaluations.low < promise.evaluations.share < promise.evaluations.high
    assert promise.evaluations == share_of(found.evaluated_n, np.full(len(groups), found.members), groups)
    assert promise.evaluations.share == pytest.approx(found.evaluated_n.mean() / found.members)
    assert promise.proven
    kept, evaluations = (
        f"{100 * one.share:.0f} % ({100 * one.low:.0f} to {100 * one.high:.0f} %)"
        for one in (promise.kept, promise.evaluations)
    )
    assert str(promise) == (
        f"Expected for new images (cross-fitted): {kept} of the full ensemble's gain in log-loss over the member that"
        f" is best on the other folds, at {evaluations} of the member evaluations"
    )


def test_intervals_hold_the_truth_of_most_draws() -> None:
    missed = 0
    for seed in range(100):
        found, groups = stopped(25, 1.0, seed=seed)
        evaluations = share_of(found.evaluated_n, np.full(len(groups), found.members), groups)
        missed += not evaluations.low <= 2.5 / 4 <= evaluations.high
    assert missed <= 12  # 5 expected


def test_without_a_proven_gain_no_share_is_promised() -> None:
    promise = promise_of(*stopped(40, 0.01))
    assert not promise.proven
    assert "cannot be promised" in str(promise)
    assert "Expected" not in str(promise)


def test_few_groups_have_no_interval_and_no_promise() -> None:
    promise = promise_of(*stopped(5, 1.0))
    assert math.isnan(promise.kept.low)
    assert not promise.proven
    assert str(promise.evaluations) == f"{100 * promise.evaluations.share:.0f} %"


def test_a_single_member_has_nothing_to_skip() -> None:
    found, groups = stopped(20, 1.0, members=1)
    alone = replace(found, stopped_n=found.first_n, full_n=found.first_n, members=1)
    promise: Promise = promise_of(alone, groups)
    assert str(promise) == "The full ensemble uses a single member, so a cascade has nothing to skip"


def test_a_cascade_that_stops_no_image_promises_no_saving() -> None:
    found, groups = stopped(40, 1.0)
    promise = promise_of(replace(found, evaluated_n=np.full_like(found.evaluated_n, found.members)), groups)
    assert promise.proven
    assert str(promise).startswith("No image stops before the last member, so the cascade costs as much as")

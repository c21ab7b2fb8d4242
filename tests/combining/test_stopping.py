"""When images stop: the order of members, and thresholds that keep what was asked for, on planted losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ensemble.combining.cascade import ALWAYS, NEVER
from ensemble.combining.fit_data import FitData
from ensemble.combining.stopping import fit_thresholds, order_members, stages_of


def planted(images: int = 4000, noise: float = 0.5, seed: int = 0) -> tuple[Any, Any]:
    """Images that gain in proportion to how unsure they are; the gains halve from stage to stage."""
    random = np.random.default_rng(seed)
    unsure_kn = np.tile(random.exponential(size=images), (4, 1))
    gains = np.array([1.0, 0.5, 0.25])[:, None] * unsure_kn[1:] + noise * random.normal(size=(3, images))
    return np.concatenate([np.zeros((1, images)), -gains.cumsum(0)]) + 10, unsure_kn


def kept(losses: Any, stage_n: Any) -> float:
    stopped = losses[stage_n, np.arange(losses.shape[1])].sum()
    return float((losses[0].sum() - stopped) / (losses[0].sum() - losses[-1].sum()))


@pytest.mark.parametrize("keep", [0.5, 0.8, 0.95])
def test_the_share_remains_on_other_images_at_fewer_evaluations(keep: float) -> None:
    thresholds = fit_thresholds(*planted(seed=1), keep)
    losses, unsure = planted(seed=2)
    stage_n = stages_of(unsure, thresholds)
    assert kept(losses, stage_n) == pytest.approx(keep, abs=0.03)
    assert thresholds == tuple(sorted(thresholds))  # the more members, the less another one gains
    at_random = [kept(losses, np.full(losses.shape[1], stage)) for stage in range(4)]
    evaluations = stage_n.mean()
    assert kept(losses, stage_n) > np.interp(evaluations, range(4), at_random) + 0.05


def test_the_fewest_evaluations_that_keep_it_are_taken() -> None:
    losses, unsure = planted()
    stages = [stages_of(unsure, fit_thresholds(losses, unsure, keep)).mean() for keep in (0.3, 0.6, 0.9, 0.99)]
    assert stages == sorted(stages)
    assert kept(losses, stages_of(unsure, fit_thresholds(losses, unsure, 0.9))) >= 0.9


def test_without_a_gain_no_image_stops_early() -> None:
    losses, unsure = planted()
    assert fit_thresholds(losses[::-1], unsure, 0.9) == (NEVER,) * 3
    assert fit_thresholds(losses[:1], unsure[:1], 0.9) == ()
    assert fit_thresholds(losses[:, :0], unsure[:, :0], 0.9) == (NEVER,) * 3


def test_members_that_add_nothing_never_run() -> None:
    losses, unsure = planted()
    flat = np.concatenate([losses[:2], losses[1:2], losses[1:2]])
    thresholds = fit_thresholds(flat, unsure, 0.9)
    assert thresholds[1:] == (ALWAYS, ALWAYS)
    assert thresholds[0] < ALWAYS


def test_sure_images_have_thresholds_too() -> None:
    losses, unsure = planted()
    assert np.isfinite(fit_thresholds(losses, np.zeros_like(unsure), 0.9)).all()


def test_the_order_begins_with_the_best_and_goes_on_with_who_helps_most() -> None:
    """Member 1 is best; member 2 is its copy with noise; member 0 is worse but right where the others are wrong."""
    random, pixels = np.random.default_rng(0), 4000
    best = random.uniform(0.02, 0.98, pixels) ** 0.7
    near = np.clip(best * random.uniform(0.85, 1.0, pixels), 0.01, 0.99)
    other = np.clip(0.9 - 0.8 * best, 0.01, 0.99)
    true = np.stack([other, best, near])
    fit_data = FitData(
        np.stack([true, 1 - true], axis=1).astype(np.float32),
        np.zeros(pixels, np.int32),
        np.zeros(pixels, np.uint8),
        np.zeros(1, np.intp),
    )
    assert order_members(fit_data) == [1, 0, 2]

"""The interval of the kept gain holds what a cascade keeps on new images, in planted worlds where that is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ensemble.combining.kept_gain import kept_interval
from ensemble.combining.stopping import StoppedEarly, fit_thresholds, kept_gain, stages_of
from ensemble.evaluation.bootstrap import Bootstrap
from ensemble.evaluation.intervals import interval

KEEP, IMAGES, FOLDS = 0.9, 3, 5


def planted(groups: int, seed: int) -> tuple[Any, Any]:
    """Losses and unsureness after three stages; images of a group gain alike, in proportion to how unsure they are."""
    random = np.random.default_rng(seed)
    group_n = np.arange(groups * IMAGES) // IMAGES
    unsure_n = np.exp(0.5 * (random.normal(size=groups)[group_n] + random.normal(size=len(group_n))))
    noise_kn = 0.5 * random.normal(size=(2, groups))[:, group_n] + 0.5 * random.normal(size=(2, len(group_n)))
    gains_kn = np.array([[1.0], [0.4]]) * unsure_n + noise_kn
    losses_kn = 9 - np.concatenate([np.zeros((1, len(group_n))), gains_kn.cumsum(0)])
    return losses_kn, unsure_n * random.uniform(0.8, 1.2, (3, len(group_n)))


def stopped_early(losses_kn: Any, unsure_kn: Any) -> StoppedEarly:
    """Cross-fit the thresholds as `stop_early` does."""
    images = losses_kn.shape[1]
    fold_n, stopped_n = np.arange(images) // IMAGES % FOLDS, np.zeros(images)
    for fold in range(FOLDS):
        others, held = fold_n != fold, np.flatnonzero(fold_n == fold)
        thresholds = fit_thresholds(losses_kn[:, others], unsure_kn[:, others], KEEP)
        stopped_n[held] = losses_kn[stages_of(unsure_kn[:, held], thresholds), held]
    evaluated_n = np.ones(images, np.int64)
    return StoppedEarly(losses_kn[0], stopped_n, losses_kn[-1], evaluated_n, 3, losses_kn, unsure_kn, KEEP)


def group_names(images: int) -> list[str]:
    return [f"g{image // IMAGES}" for image in range(images)]


def test_it_holds_the_truth_where_an_interval_with_fixed_thresholds_does_not() -> None:
    population, missed, fixed_missed, draws = planted(3000, 10**6), 0, 0, 60
    for seed in range(draws):
        losses_kn, unsure_kn = planted(30, seed)
        found, names = stopped_early(losses_kn, unsure_kn), group_names(losses_kn.shape[1])
        thresholds = fit_thresholds(losses_kn, unsure_kn, KEEP)
        true = float(kept_gain(population[0], stages_of(population[1], thresholds)))
        limits = kept_interval(found, names)
        missed += not limits.low <= true <= limits.high
        bootstrap = Bootstrap.draw(names, resamples=300)
        parts = found.first_n - found.stopped_n, found.first_n - found.full_n
        fixed = interval(bootstrap.ratio(*parts), left_out_g=bootstrap.leave_one_out.ratio(*parts))
        fixed_missed += not fixed.low <= true <= fixed.high
    assert missed <= 6  # 3 expected
    assert fixed_missed > missed


def test_it_is_symmetric_around_the_cross_fitted_share_and_narrows_with_more_groups() -> None:
    widths = list[float]()
    for groups in (20, 80, 320):
        found = stopped_early(*planted(groups, 0))
        limits = kept_interval(found, group_names(groups * IMAGES))
        share = (found.first_n - found.stopped_n).sum() / (found.first_n - found.full_n).sum()
        assert (limits.low + limits.high) / 2 == pytest.approx(share)
        widths.append(limits.high - limits.low)
        assert kept_interval(found, group_names(groups * IMAGES)) == limits
        wider = kept_interval(found, group_names(groups * IMAGES), 0.99)
        assert wider.high > limits.high
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] > 0


def test_images_that_all_go_on_keep_all() -> None:
    losses_kn, unsure_kn = planted(20, 0)
    alike = np.stack([losses_kn[0], losses_kn[0], losses_kn[0] - 1])  # only the last stage gains, all images alike
    found = stopped_early(alike, np.ones_like(unsure_kn))
    limits = kept_interval(found, group_names(alike.shape[1]))
    assert (limits.low, limits.high) == (1, 1)

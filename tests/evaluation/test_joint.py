"""The level with which several intervals hold together: against Gaussian theory, and its limits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import ndtr
from statsmodels.stats.multitest import multipletests

from ensemble.evaluation.joint import joint_level
from ensemble.evaluation.paired import PairedDifference

RESAMPLES = 100_000


def difference(samples_b: np.ndarray) -> PairedDifference:
    return PairedDifference(0.0, samples_b, np.array([0.0, 1.0]))


def normals(count: int, correlation: float) -> list[PairedDifference]:
    random = np.random.default_rng(1)
    shared_b = random.normal(size=RESAMPLES)
    own_bj = random.normal(size=(RESAMPLES, count))
    samples_bj = np.sqrt(correlation) * shared_b[:, None] + np.sqrt(1 - correlation) * own_bj
    return [difference(3 + 7 * samples_b) for samples_b in samples_bj.T]  # neither mean nor scale matters


def test_independent_differences_have_the_level_of_sidak() -> None:
    assert joint_level(normals(10, 0.0)) == pytest.approx(0.95 ** (1 / 10), abs=4e-4)


def test_correlated_differences_have_the_level_of_the_multivariate_normal() -> None:
    """P(max |Z_j| <= c) for equal correlations is an integral over what they share, here by Gauss and Hermite."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(201)

    def holds(c: float) -> float:
        limits = [(side * c - np.sqrt(0.5) * nodes) / np.sqrt(0.5) for side in (1, -1)]
        return float(weights @ (ndtr(limits[0]) - ndtr(limits[1])) ** 20 / weights.sum())

    c = brentq(lambda limit: holds(limit) - 0.95, 1.9, 4.0)
    assert joint_level(normals(20, 0.5)) == pytest.approx(2 * ndtr(c) - 1, abs=4e-4)


def test_it_lies_between_no_correction_and_bonferroni() -> None:
    moves_b = np.random.default_rng(0).normal(size=RESAMPLES)
    assert joint_level([difference(moves_b)] * 30) == pytest.approx(0.95, abs=1e-3)
    rare_jb = np.random.default_rng(0).random((5, RESAMPLES)) < 0.03  # 14 % of the resamples hold something extreme
    heavy = [difference(each_b.astype(float)) for each_b in rare_jb]
    assert joint_level(heavy) == pytest.approx(1 - 0.05 / 5)
    bonferroni = multipletests([0.011, 0.5, 0.5, 0.5, 0.5], method="bonferroni")[3]
    assert joint_level(heavy) == pytest.approx(1 - bonferroni)


def test_equal_systems_do_not_count_and_missing_resamples_are_left_out() -> None:
    same, never = difference(np.zeros(RESAMPLES)), difference(np.full(RESAMPLES, np.nan))
    assert joint_level([same, never]) == 0.95
    assert joint_level([]) == 0.95
    ten = normals(10, 0.0)
    gaps = [difference(np.where(np.arange(RESAMPLES) % 50 == 0, np.nan, one.samples_b)) for one in ten]
    assert joint_level([*ten, same, never]) == joint_level(ten)
    assert joint_level(gaps) == pytest.approx(joint_level(ten), abs=4e-4)

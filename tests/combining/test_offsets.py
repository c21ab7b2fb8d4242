"""Class offsets: brute force over the whole grid, planted gains, and none where there is nothing to gain."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from ensemble.combining.offsets import LIMIT, STEP, fit_offsets
from ensemble.evaluation.confusion import mean_iou


def simulated(seed: int, shares: list[float], pixels: int, quality: float = 1.5) -> tuple[Any, Any]:
    """Well calibrated probabilities of classes of different frequency."""
    random = np.random.default_rng(seed)
    labels = random.choice(len(shares), pixels, p=shares).astype(np.uint8)
    logits = random.normal(size=(len(shares), pixels))
    logits[labels, np.arange(pixels)] += quality
    logits = quality * logits + np.log(shares)[:, None]
    return (np.exp(logits) / np.exp(logits).sum(0)).astype(np.float32), labels


def score(probs: Any, labels: Any, offsets: Any, shrink: float) -> float:
    decided = (np.log(probs) + np.asarray(offsets, np.float32)[:, None]).argmax(0)
    classes = len(probs)
    confusion = np.bincount(labels * classes + decided, minlength=classes**2).reshape(classes, classes)
    return float(mean_iou(confusion)) - shrink * float(np.square(np.asarray(offsets) - np.mean(offsets)).sum())


@pytest.mark.parametrize("shrink", [0.0, 0.005, 0.1])
@pytest.mark.parametrize("seed", range(4))
def test_two_classes_equal_brute_force_over_the_grid(seed: int, shrink: float) -> None:
    probs, labels = simulated(seed, [0.8, 0.2], 60)
    count = round(LIMIT / STEP)
    free = int(np.bincount(labels, minlength=2).argmin())
    grid = [np.eye(2)[free] * step * STEP for step in range(-count, count + 1)]
    best = max(score(probs, labels, offsets, shrink) for offsets in grid)
    found = fit_offsets(probs, labels, shrink=shrink)
    assert score(probs, labels, found, shrink) == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_three_classes_equal_brute_force(seed: int) -> None:
    probs, labels = simulated(seed, [0.7, 0.2, 0.1], 50)
    grid = np.arange(-LIMIT, LIMIT + 0.01, 0.25)
    best = max(score(probs, labels, [0.0, *pair], 0.005) for pair in product(grid, grid))
    found = fit_offsets(probs, labels)
    assert score(probs, labels, found, 0.005) >= best - 0.002
    assert score(probs, labels, found, 0.005) >= score(probs, labels, np.zeros(3), 0.005)


@pytest.mark.parametrize(("seed", "plain"), [(2, 0.2608), (5, 0.2475)])
def test_the_search_leaves_a_local_optimum(seed: int, plain: float) -> None:
    """An ascent from no offsets alone ends about one point lower."""
    probs, labels = simulated(seed, [0.6, 0.25, 0.1, 0.05], 500, 0.5)
    assert score(probs, labels, fit_offsets(probs, labels), 0.005) > plain + 0.008


def test_no_single_offset_can_be_moved_to_advantage() -> None:
    probs, labels = simulated(7, [0.6, 0.25, 0.1, 0.05], 3000)
    found = fit_offsets(probs, labels)
    assert found.sum() == pytest.approx(0, abs=1e-9)
    for c, step in product(range(4), (-0.5, -0.2, -STEP, STEP, 0.2, 0.5)):
        moved = found + step * np.eye(4)[c]
        assert score(probs, labels, moved, 0.005) <= score(probs, labels, found, 0.005) + 1e-6


@pytest.mark.parametrize("order", [[1, 0, 2, 3], [3, 2, 1, 0], [2, 3, 0, 1]])
def test_no_class_is_special(order: list[int]) -> None:
    """Classes in another order have the same offsets in that order."""
    probs, labels = simulated(8, [0.5, 0.3, 0.15, 0.05], 2000)
    found = fit_offsets(probs, labels)
    place = np.argsort(order).astype(np.uint8)
    assert fit_offsets(probs[order], place[labels]) == pytest.approx(found[order], abs=1e-6)


def test_rare_classes_are_favoured_where_probabilities_are_right() -> None:
    """With true probabilities the argmax neglects rare classes; the gain holds on pixels not fitted on."""
    shares = [0.9, 0.08, 0.02]
    found = fit_offsets(*simulated(1, shares, 20_000))
    assert found[1] - found[0] > 0.1
    assert found[2] - found[0] > 0.1
    probs, labels = simulated(2, shares, 20_000)
    assert score(probs, labels, found, 0) > score(probs, labels, np.zeros(3), 0) + 0.005


def test_nothing_to_gain_is_no_offset() -> None:
    probs, labels = np.eye(3, dtype=np.float32).repeat(10, 1) * 0.8 + np.float32(0.2 / 3), np.arange(30) // 10
    assert fit_offsets(probs, labels.astype(np.uint8)).tolist() == [0, 0, 0]
    probs, labels = simulated(3, [0.5, 0.5], 200)
    assert fit_offsets(probs, labels, shrink=1e6).tolist() == [0, 0]


def test_a_class_that_is_never_true_is_not_favoured() -> None:
    probs, labels = simulated(4, [0.5, 0.3, 0.2], 500)
    found = fit_offsets(probs, np.where(labels == 2, 0, labels).astype(np.uint8))
    assert found[2] <= 1e-9

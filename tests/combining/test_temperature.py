"""Temperatures: the optimum of another optimiser, planted truth, and bounds that hold whatever the member says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from ensemble.core.errors import EnsError
from ensemble.evaluation.calibration import HOTTEST, SMALLEST_PROBABILITY, fit_temperature


def drawn(seed: int, scale: float, classes: int = 4, pixels: int = 5000) -> tuple[Any, Any]:
    """Probabilities raised to the power ``scale``, and labels drawn from the probabilities themselves."""
    random = np.random.default_rng(seed)
    logits = 1.5 * random.normal(size=(classes, pixels))
    true = np.exp(logits) / np.exp(logits).sum(0)
    labels = (true.cumsum(0) < random.random(pixels)).sum(0).clip(max=classes - 1)
    sharp = np.exp(scale * (logits - logits.max(0)))
    return (sharp / sharp.sum(0)).astype(np.float32), labels


def loss(probs: Any, labels: Any, temperature: float) -> float:
    logs = np.log(np.maximum(probs, SMALLEST_PROBABILITY).astype(np.float64)) / temperature
    logs -= logs.max(0)
    return float((np.log(np.exp(logs).sum(0)) - logs[labels, np.arange(len(labels))]).mean())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 9999), st.floats(0.02, 8), st.integers(2, 6))
def test_is_the_optimum_of_a_bounded_search(seed: int, scale: float, classes: int) -> None:
    probs, labels = drawn(seed, scale, classes, 400)
    found = fit_temperature(probs, labels)
    bounds = (-np.log(HOTTEST), np.log(HOTTEST))
    best = minimize_scalar(
        lambda u: loss(probs, labels, float(np.exp(u))), bounds=bounds, method="bounded", options={"xatol": 1e-6}
    )
    assert 1 / HOTTEST <= found <= HOTTEST
    assert loss(probs, labels, found) <= best.fun + 1e-6


@pytest.mark.parametrize("scale", [0.25, 1.0, 4.0])
def test_recovers_the_temperature_that_was_planted(scale: float) -> None:
    assert fit_temperature(*drawn(1, scale, pixels=40_000)) == pytest.approx(scale, rel=0.05)


def test_stays_within_bounds() -> None:
    certain, labels = np.full((3, 30), 1e-9, np.float32), np.arange(30) % 3
    certain[labels, np.arange(30)] = 1
    assert loss(certain, labels, fit_temperature(certain, labels)) < 1e-6
    assert fit_temperature(certain, (labels + 1) % 3) == pytest.approx(HOTTEST)
    assert fit_temperature(*drawn(2, 0.01)) == pytest.approx(1 / HOTTEST)
    assert fit_temperature(*drawn(2, 0.3), hottest=2.0) == pytest.approx(0.5)


def test_where_nothing_depends_on_it_nothing_changes() -> None:
    assert fit_temperature(np.full((3, 5), 1 / 3, np.float32), np.zeros(5, np.intp)) == 1
    assert fit_temperature(np.zeros((3, 0), np.float32), np.zeros(0, np.intp)) == 1


def test_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(EnsError, match=r"expected probabilities \(classes, pixels\) and a label per pixel, got"):
        fit_temperature(np.ones((3, 5), np.float32), np.zeros(4, np.intp))

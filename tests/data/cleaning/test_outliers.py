"""Strength of edges and distance from the rest: hand-worked values, crowds of outliers, degenerate data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ensemble.data.cleaning.outliers import FEWEST, QUANTILES, edge_strengths, strangeness

Floats = NDArray[np.float32]


def like(count: int, seed: int = 0) -> Floats:
    """Edge strengths of images of one kind: log-normal, correlated, ascending along the quantiles."""
    rng = np.random.default_rng(seed)
    level = rng.normal(0, 0.15, (count, 1)) + rng.normal(0, 0.04, (count, len(QUANTILES)))
    return (np.geomspace(0.01, 0.3, len(QUANTILES)) * np.exp(level)).astype(np.float32)


def test_edges_by_hand() -> None:
    image = np.zeros((101, 201, 1), np.uint8)
    image[:, 50:] = 51  # one vertical step of 0.2: 100 of the 100 x 200 places, 0.5 %
    assert edge_strengths(image).tolist() == pytest.approx([0, 0, 0, 0, 0, 0, 0.2], abs=1e-7)
    slope = (np.indices((20, 20)) * np.array([3, 4])[:, None, None]).sum(0).astype(np.uint8)[..., None]
    assert edge_strengths(slope).tolist() == pytest.approx([5 / 255] * 7, abs=1e-6)  # sqrt(3^2 + 4^2) grey levels


@given(st.integers(0, 100), st.integers(0, 2**32 - 1))
def test_brightness_type_and_equal_bands_change_nothing(shift: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 150, (9, 12, 1), dtype=np.uint8)
    expected = edge_strengths(image)
    for other in (image + np.uint8(shift), image.astype(np.float32) / np.float32(255), image.repeat(3, axis=-1)):
        np.testing.assert_allclose(edge_strengths(other), expected, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_a_crowd_of_outliers_stands_apart_from_the_rest(seed: int) -> None:
    edges = like(400, seed)
    crowd = np.arange(60)  # 15 % of the images, all alike among themselves
    edges[crowd, -2:] += 0.6
    suspect = np.flatnonzero(strangeness(edges) > 1)
    assert set(suspect) >= set(crowd)
    assert len(suspect) <= len(crowd) + 2


def test_images_of_one_kind_raise_few_alarms() -> None:
    alarms = sum((strangeness(like(300, seed)) > 1).sum() for seed in range(5))
    assert alarms <= 0.02 * 1500  # skewed strengths have longer tails than the normal law that the bound is taken from


def test_few_images_have_no_rest() -> None:
    edges = like(FEWEST - 1)
    edges[0] = 0.9
    assert strangeness(edges).tolist() == [0.0] * (FEWEST - 1)


def test_images_without_an_edge_are_suspect_unless_they_are_many() -> None:
    edges = like(100)
    edges[:20] = 0
    assert np.isinf(strangeness(edges)[:20]).all()
    assert np.isfinite(strangeness(edges)[20:]).all()
    edges[:30] = 0
    assert (strangeness(edges)[:30] == 0).all()


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_equal_images_raise_no_alarm_and_no_warning(value: float) -> None:
    edges = np.full((200, len(QUANTILES)), value, np.float32)
    assert (strangeness(edges) > 1).sum() <= 1
    edges[:, -1] = 0.5  # most quantiles do not vary at all, as on black backgrounds
    edges[:3, -1] = 0.9
    assert np.flatnonzero(strangeness(edges) > 1).tolist() == [0, 1, 2]

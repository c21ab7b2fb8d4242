"""The sample of labelled pixels: bounded, uniform within a class, the same for any batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.core.errors import EnsError
from ensemble.evaluation.sampling import PixelSample, PixelSampler


def numbered(labels_p: Any, cuts: Any = (), per_class: int = 10, seed: int = 0, classes: int = 3) -> PixelSample:
    """Sample pixels whose "probability" is their own number, so that each can be recognised."""
    sampler = PixelSampler(classes, per_class, seed)
    number_p = np.arange(len(labels_p), dtype=np.float32)
    for part in np.split(np.arange(len(labels_p)), cuts):
        probs = np.broadcast_to(number_p[part], (2, classes, len(part)))
        sampler.add(probs, labels_p[part].astype(np.uint8), (part // 7).astype(np.int32))
    return sampler.sample()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**16), st.lists(st.integers(0, 400), max_size=4), st.integers(1, 60))
def test_any_batches_give_the_same_sample_of_the_right_size(seed: int, cuts: list[int], per_class: int) -> None:
    labels = np.random.default_rng(seed).choice(3, 400, p=[0.8, 0.19, 0.01])
    whole, parts = numbered(labels, (), per_class), numbered(labels, sorted(cuts), per_class)
    for name in ("probs_scp", "labels_p", "image_p", "weights_p"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    counts, drawn = np.bincount(labels, minlength=3), np.bincount(whole.labels_p, minlength=3)
    np.testing.assert_array_equal(drawn, np.minimum(counts, per_class))
    np.testing.assert_allclose(np.bincount(whole.labels_p, whole.weights_p, minlength=3), counts)
    number_p = whole.probs_scp[0, 0].astype(int)
    assert len(set(number_p.tolist())) == whole.size  # without replacement
    np.testing.assert_array_equal(whole.labels_p, labels[number_p])
    np.testing.assert_array_equal(whole.image_p, number_p // 7)


def test_every_pixel_of_a_class_is_as_likely() -> None:
    labels, drawn = np.zeros(40, int), np.zeros(40)
    for seed in range(600):
        drawn[numbered(labels, (13,), 10, seed).probs_scp[0, 0].astype(int)] += 1
    expected, deviation = 150, np.sqrt(600 * 0.25 * 0.75)
    assert np.abs(drawn - expected).max() < 4 * deviation


def test_the_proportional_part_has_the_frequencies_of_all_pixels() -> None:
    labels = np.repeat([0, 1, 2], [8000, 1600, 400])
    sample = numbered(labels, (), 2000)
    assert np.bincount(sample.labels_p).tolist() == [2000, 1600, 400]
    even = sample.proportional()
    assert set(even.weights_p.tolist()) == {4.0}
    assert np.abs(np.bincount(even.labels_p) - [2000, 400, 100]).max() < 4 * np.sqrt(1600 / 4)
    assert numbered(labels, (), 10_000).proportional().size == 10_000  # nothing was left out: all of it
    np.testing.assert_array_equal(labels[even.probs_scp[0, 0].astype(int)], even.labels_p)


def test_mistakes_are_explained() -> None:
    with pytest.raises(EnsError, match="at least one pixel per class, got 0"):
        PixelSampler(2, 0)
    with pytest.raises(EnsError, match="expected labelled pixels to sample, got none"):
        PixelSampler(2, 5).sample()

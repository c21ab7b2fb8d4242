"""Scores of an image that is added strip after strip are those of the whole image."""

from __future__ import annotations

import doctest
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.evaluation import strips
from ensemble.evaluation.strips import PredictedBatch, Strip, step_of, thinned
from ensemble.evaluation.tally import Tally

CLASSES = 3
COUNTS = ("confusions", "raw_confusions", "boundary")


def case(seed: int, size: tuple[int, int]) -> tuple[Any, Any, Any]:
    random = np.random.default_rng(seed)
    probs = random.dirichlet(np.full(CLASSES, 0.4), (1, *size)).astype(np.float32).transpose(0, 3, 1, 2)
    labels = random.choice(np.array([0, 1, 2, 255], np.uint8), (1, *size))
    return probs, labels, random.integers(0, CLASSES + 1, (1, *size))


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**16),
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 12)), min_size=1, max_size=4),
    st.data(),
)
def test_any_cut_gives_the_tables_of_whole_images(seed: int, sizes: list[tuple[int, int]], data: st.DataObject) -> None:
    whole, cut = Tally(CLASSES), Tally(CLASSES)
    for row, size in enumerate(sizes):
        probs, labels, raw = case(seed + row, size)
        whole.add(probs, labels, raw_predictions_nhw=raw)
        places = sorted(data.draw(st.sets(st.integers(1, max(1, size[0] - 1)), max_size=size[0] - 1)))
        if data.draw(st.booleans()):
            cut.add(probs, labels, raw_predictions_nhw=raw)
            continue
        for top, stop in zip([0, *places], [*places, size[0]], strict=True):
            part = slice(top, stop)
            strip = Strip(top, size[0])
            cut.add(probs[:, :, part], labels[:, part], raw_predictions_nhw=raw[:, part], strip=strip)
    expected, found = whole.arrays(), cut.arrays()
    assert set(found) == set(expected)
    for name, values in expected.items():
        if name in COUNTS:
            assert (found[name] == values).all()
        else:  # sums of floats
            np.testing.assert_allclose(found[name], values, rtol=1e-12, atol=1e-12)
    assert (found["reliability"][:, [0, 2]] == expected["reliability"][:, [0, 2]]).all()  # pixels, and right ones


def test_a_strip_keeps_the_pixels_that_the_whole_picture_keeps() -> None:
    values = np.arange(5000 * 30).reshape(1, 5000, 30)
    assert step_of(5000, 30) == 3
    cuts = [0, 1, 2, 700, 701, 4999, 5000]
    parts = [thinned(values[:, top:stop], 5000, top) for top, stop in pairwise(cuts)]
    assert (np.concatenate(parts, axis=1) == values[:, ::3, ::3]).all()
    small = np.zeros((2, 20, 30))
    assert (thinned(small, 20) == small).all()
    assert not np.shares_memory(thinned(small, 20), small)  # the batch is not kept in memory


def test_whole_images_have_no_halo() -> None:
    batch = PredictedBatch(slice(0, 2), np.zeros((1, 2, 3, 4, 5), np.float32), np.zeros((2, 4, 5), np.uint8))
    assert np.shares_memory(batch.cut(batch.probs_mnchw), batch.probs_mnchw)
    assert batch.cut(batch.probs_mnchw).shape == (1, 2, 3, 4, 5)


def test_the_examples_run() -> None:
    assert doctest.testmod(strips).attempted > doctest.testmod(strips).failed == 0

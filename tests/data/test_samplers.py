"""Samplers: rows in range and none twice in a batch; ``rare`` keeps its promise and uses rare images evenly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.core.errors import EnsError, UnknownName
from ensemble.data.rarest import rarest_class_overall
from ensemble.data.samplers import SAMPLERS, build_sampler, resolve_sampler, sampler_note


def counts(total: int, rare: int, seed: int = 0) -> Any:
    """Labelled pixels of ``total`` images, ``rare`` of which hold the rarest class; a class without pixels too."""
    table = np.full((total, 4), 500)
    table[:, 1] = 0
    table[:, 3] = 0
    table[np.random.default_rng(seed).permutation(total)[:rare], 3] = 5
    return table


def epoch(text: str, table: Any, shape: tuple[int, int], seed: int = 0) -> Any:
    return build_sampler(text)(table, shape, np.random.default_rng(seed)).positions


@st.composite
def epochs(draw: st.DrawFn) -> tuple[Any, tuple[int, int], int]:
    """Counts, the shape of an epoch as training has it, and a seed."""
    total = draw(st.integers(2, 60))
    size = draw(st.integers(1, total))
    table = counts(total, draw(st.integers(1, total)), draw(st.integers(0, 9)))
    return table, (total // size, size), draw(st.integers(0, 2**31))


@pytest.mark.parametrize("name", SAMPLERS)
@settings(max_examples=40, deadline=None)
@given(drawn=epochs())
def test_positions_are_in_range_and_none_comes_twice_in_a_batch(name: str, drawn: Any) -> None:
    table, shape, seed = drawn
    order = epoch(name, table, shape, seed)
    assert order.shape == shape
    assert order.dtype == np.int64
    assert 0 <= order.min() <= order.max() < len(table)
    assert all(len(set(batch)) == shape[1] for batch in order.tolist())
    np.testing.assert_array_equal(order, epoch(name, table, shape, seed))


@settings(max_examples=60, deadline=None)
@given(drawn=epochs(), per_batch=st.integers(1, 8))
def test_every_batch_holds_rare_images(drawn: Any, per_batch: int) -> None:
    table, shape, seed = drawn
    rare = np.flatnonzero(table[:, 3])
    order = epoch(f"rare(per_batch={per_batch})", table, shape, seed)
    held = np.isin(order, rare).sum(1)
    assert (held >= min(per_batch, len(rare), shape[1])).all()
    # Against the uniform order of the same generator: only other images gave way, and no more than needed.
    before = epoch("uniform", table, shape, seed)
    changed = order != before
    assert np.isin(order[changed], rare).all()
    assert not np.isin(before[changed], rare).any()
    np.testing.assert_array_equal(
        changed.sum(1), np.clip(min(per_batch, len(rare), shape[1]) - np.isin(before, rare).sum(1), 0, None)
    )
    others, times = np.unique(order[~np.isin(order, rare)], return_counts=True)
    assert (times == 1).all(), others


@settings(max_examples=40, deadline=None)
@given(drawn=epochs())
def test_uniform_shows_every_image_once_at_most(drawn: Any) -> None:
    table, shape, seed = drawn
    order = epoch("uniform", table, shape, seed)
    assert len(set(order.ravel().tolist())) == shape[0] * shape[1]


def test_an_epoch_like_that_of_the_reference_problem() -> None:
    """2,092 images, 47 of them with big rocks, batches of 32."""
    table = counts(2092, 47)
    rare = np.flatnonzero(table[:, 3])
    order = epoch("rare", table, (65, 32), seed=1)
    assert (np.isin(order, rare).sum(1) >= 3).all()
    used = np.bincount(order.ravel(), minlength=2092)
    assert used[rare].max() - used[rare].min() <= 2  # used evenly
    assert 65 * 3 <= used[rare].sum() <= 65 * 3 + 15
    assert np.delete(used, rare).mean() > 0.9  # all others are seen about once


def test_epochs_differ() -> None:
    table = counts(40, 4)
    assert not np.array_equal(epoch("rare", table, (4, 10), 1), epoch("rare", table, (4, 10), 2))


def test_texts_are_complete_and_come_back_unchanged() -> None:
    assert resolve_sampler("uniform") == "uniform"
    assert resolve_sampler("rare") == "rare(per_batch=3)"
    assert resolve_sampler("rare( per_batch = 5 )") == "rare(per_batch=5)"


def test_mistakes_are_told() -> None:
    with pytest.raises(UnknownName, match="unknown sampler 'rere'; did you mean 'rare'"):
        resolve_sampler("rere")
    with pytest.raises(UnknownName, match="unknown option 'perbatch' of sampler 'rare'; did you mean 'per_batch'"):
        resolve_sampler("rare(perbatch=3)")
    with pytest.raises(
        EnsError, match="expected per_batch of 1 or more for the sampler 'rare', got 0; or use 'uniform'"
    ):
        resolve_sampler("rare(per_batch=0)")
    with pytest.raises(EnsError, match=r"expected a sampler written as name or .*, got 'rare . uniform'"):
        resolve_sampler("rare + uniform")


def test_the_rarest_label_has_pixels() -> None:
    assert rarest_class_overall(np.array([[5, 0, 3], [5, 0, 1]])) == 2
    assert rarest_class_overall(np.array([[0, 0, 9]])) == 2
    assert rarest_class_overall(np.array([[4, 4]])) == 0


def test_a_sampler_that_asks_for_more_than_there_is_gets_a_note() -> None:
    table = counts(total=20, rare=5)
    for text, size in (("uniform", 4), ("rare(per_batch=4)", 4), ("rare(per_batch=5)", 8)):
        assert sampler_note(text, table, size) == ""
    expected = "at most {} images with the rarest class per batch, not per_batch 9"
    assert sampler_note("rare(per_batch=9)", table, 8) == expected.format(5)
    assert sampler_note("rare(per_batch=9)", table, 3) == expected.format(3)

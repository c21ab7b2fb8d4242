"""The learning-rate schedule and the decay of the average: values by hand, ends, and what always holds."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.training.schedule import cosine_with_warmup, ema_decay


def test_rises_linearly_then_falls_as_half_a_cosine() -> None:
    factors = [cosine_with_warmup(step, 10, 0.2) for step in range(10)]
    assert factors[:2] == [0.5, 1.0]
    assert factors[2] == 1.0
    assert factors[6] == pytest.approx(0.5)
    assert factors[4] == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert factors[9] == pytest.approx(0.5 * (1 + math.cos(math.pi * 7 / 8)))
    assert cosine_with_warmup(10, 10, 0.2) == pytest.approx(0.0)


def test_without_warmup_the_first_step_is_the_largest() -> None:
    assert cosine_with_warmup(0, 100, 0.0) == 1.0


def test_a_single_step_is_taken_at_the_full_rate() -> None:
    assert cosine_with_warmup(0, 1, 0.1) == 1.0


@settings(max_examples=60, deadline=None)
@given(total=st.integers(1, 300), warmup=st.floats(0, 0.9), data=st.data())
def test_every_step_moves_and_none_exceeds_the_rate(total: int, warmup: float, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, total - 1))
    factor = cosine_with_warmup(step, total, warmup)
    assert 0 < factor <= 1
    following = cosine_with_warmup(step + 1, total, warmup)
    assert following >= factor if step + 1 < round(warmup * total) else following <= factor


def test_the_average_forgets_first_weights_fast_and_reaches_its_time_constant() -> None:
    assert ema_decay(0, 1000, 0.02) == pytest.approx(0.1)
    assert ema_decay(8, 1000, 0.02) == pytest.approx(0.5)
    assert ema_decay(999, 1000, 0.02) == pytest.approx(0.95)  # 1 - 1 / 20 steps


def test_a_time_constant_under_two_steps_is_two_steps() -> None:
    assert ema_decay(500, 1000, 1e-6) == 0.5


def test_span_zero_is_no_average() -> None:
    assert [ema_decay(step, 10, 0.0) for step in (0, 5, 9)] == [0.0, 0.0, 0.0]


@settings(max_examples=60, deadline=None)
@given(total=st.integers(1, 10_000), span=st.floats(1e-4, 0.99), step=st.integers(0, 9_999))
def test_decay_stays_below_one_and_never_falls(total: int, span: float, step: int) -> None:
    decay = ema_decay(step, total, span)
    assert 0.1 <= decay < 1
    assert ema_decay(step + 1, total, span) >= decay

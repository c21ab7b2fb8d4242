"""Durations and shares as people read them."""

from __future__ import annotations

import pytest

from ensemble.core.formatting import counted, percent


@pytest.mark.parametrize(("value", "text"), [(0.1234, "12.3"), (None, "-"), (float("nan"), "-"), (1.0, "100.0")])
def test_percent(value: float | None, text: str) -> None:
    assert percent(value) == text


def test_one_thing_is_singular() -> None:
    shown = [counted(number, "independent group") for number in (0, 1, 2, 1234)]
    assert shown == ["0 independent groups", "1 independent group", "2 independent groups", "1,234 independent groups"]

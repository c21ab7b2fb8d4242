"""Durations and shares as people read them."""

from __future__ import annotations

import pytest

from ensemble.core.formatting import percent


@pytest.mark.parametrize(("value", "text"), [(0.1234, "12.3"), (None, "-"), (float("nan"), "-"), (1.0, "100.0")])
def test_percent(value: float | None, text: str) -> None:
    assert percent(value) == text

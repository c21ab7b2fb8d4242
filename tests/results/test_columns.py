"""Every column is documented, and its values get its type."""

from __future__ import annotations

import pytest

from ensemble import results
from ensemble.core.errors import EnsError
from ensemble.results.columns import typed


def test_every_column_is_documented() -> None:
    assert all(column.about and column.title for column in results.COLUMNS.values())
    titles = [column.title for column in results.COLUMNS.values()]
    assert len(set(titles)) == len(titles)


def test_numbers_become_the_column_s_type() -> None:
    assert [typed(value, "float64") for value in (None, 1, 0.5)] == [None, 1.0, 0.5]
    assert [typed(value, "Int64") for value in (None, 1, 2.0)] == [None, 1, 2]
    with pytest.raises(EnsError, match="expected Int64, got nan"):
        typed(float("nan"), "Int64")

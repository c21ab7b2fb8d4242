from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ensemble.core.threads import ahead, in_threads


def test_results_come_in_the_order_of_the_items() -> None:
    assert in_threads(lambda item: item**2, range(50)) == [item**2 for item in range(50)]


def test_one_item_is_made_ahead_and_no_more() -> None:
    made = list[int]()

    def items() -> Iterator[int]:
        for item in range(10):
            made.append(item)
            yield item

    for place, item in enumerate(ahead(items())):
        assert item == place
        assert len(made) <= place + 2
    assert made == list(range(10))


def test_an_error_comes_when_its_item_is_asked_for() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the second one")

    coming = ahead(items())
    assert next(coming) == 1
    with pytest.raises(ValueError, match="the second one"):
        next(coming)


def test_items_that_nobody_asks_for_are_not_made() -> None:
    made = list[int]()

    def items() -> Iterator[int]:
        for item in range(1000):
            made.append(item)
            yield item

    coming = ahead(items())
    assert next(coming) == 0
    coming.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert len(made) <= 2
    assert list(ahead(iter([]))) == []
    assert list(ahead(iter([None, None]))) == [None, None]


def test_no_blas_of_a_later_import_has_more_threads() -> None:
    code = """
from ensemble.core.threads import one_blas_thread
with one_blas_thread():
    import scipy.optimize
    from threadpoolctl import threadpool_info
    print([one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"])
"""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "2"}
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert set(json.loads(shown.stdout)) == {1}

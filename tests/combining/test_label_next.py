"""The order in which images are labelled: against brute force, with copies and groups, and information from stores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from ensemble.combining import alignment
from ensemble.combining.alignment import align
from ensemble.combining.label_next import information_per_image, rank_next
from ensemble.evaluation.void import VOID
from ensemble.runs.folder import find_members
from ensemble.runs.member import Member


def test_one_of_each_group_comes_first_and_copies_never() -> None:
    information = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    assert rank_next(information, list("aaabb"), list("vwxyz"), 5) == [0, 3, 1, 4, 2]
    assert rank_next(information, list("aaabb"), list("vvxyz"), 5) == [0, 3, 2, 4]  # the second is a copy of the first
    assert rank_next(information[::-1], list("abcde"), list("abcde"), 2) == [4, 3]
    assert rank_next(np.zeros(3), list("abc"), list("abc"), 2) == [0, 1]
    assert rank_next(np.zeros(0), [], [], 2) == []


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 2)), max_size=30), st.integers(1, 12))
def test_the_order_has_its_properties(images: list[tuple[int, int, int]], count: int) -> None:
    information = np.array([value for value, _, _ in images], float)
    groups, copies = [str(group) for _, group, _ in images], [f"{group} {copy}" for _, group, copy in images]
    rows = rank_next(information, groups, copies, count)
    assert len(rows) == min(count, len(set(copies)))
    assert len({copies[row] for row in rows}) == len(rows)
    first = rows[: len(set(groups))]
    assert len({groups[row] for row in first}) == len(first)
    assert all(a >= b for a, b in zip(information[first], information[first[1:]], strict=False))
    for row in rows:  # the best of its copies
        assert information[row] == max(information[n] for n, name in enumerate(copies) if name == copies[row])


def test_information_is_that_of_scipy(tiny_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = [Member.open(path) for path in find_members(tiny_runs)]
    probs = np.stack([np.concatenate([each for _, each, _ in member.store("test").batches()]) for member in members])
    expected = (entropy(probs.mean(0), axis=1) - entropy(probs, axis=2).mean(0)).mean((1, 2))
    aligned = align(members, "test")
    assert information_per_image(aligned) == pytest.approx(expected, abs=1e-5)
    assert all((batch.labels_nhw == VOID).all() for batch in aligned.batches())
    monkeypatch.setattr(alignment, "BATCH_BYTES", 4 * 2 * 3 * 32 * 5)  # strips of five rows
    assert information_per_image(aligned) == pytest.approx(expected, abs=1e-5)

"""Members that are nearly the same are named, others are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.combining.combine import combine
from ensemble.combining.compare_methods import combine_all
from ensemble.combining.copies import near_copies
from ensemble.combining.fit_data import FitData
from ensemble.runs.member import Member

LABELS = np.array([0, 1] * 500, np.uint8)


def data(*decided_mp: Any) -> FitData:
    """Members that decide so, on 1000 pixels."""
    probs = np.stack([np.stack([one == 0, one == 1]) for one in decided_mp]).astype(np.float32)
    return FitData(probs * 0.8 + 0.1, np.arange(1000, dtype=np.int32) // 10, LABELS, np.arange(100))


def wrong_at(*pixels: int) -> Any:
    return np.where(np.isin(np.arange(1000), pixels), 1 - LABELS, LABELS)


def test_copies_are_named_once_with_the_share_of_pixels() -> None:
    first, near, other = wrong_at(*range(100)), wrong_at(*range(1, 101)), wrong_at(*range(80, 180))
    (sentence,) = near_copies(data(first, other, near), ["a", "b", "c"])
    assert sentence == (
        "c is nearly the same member as a (other classes on 0.2 % of the pixels), so it counts twice; leave c out."
    )
    assert len(near_copies(data(first, first, first), ["a", "b", "c"])) == 2


@pytest.mark.parametrize("wrong", [1, 20])
def test_good_members_that_err_elsewhere_are_no_copies(wrong: int) -> None:
    one, other = wrong_at(*range(wrong)), wrong_at(*range(wrong, 2 * wrong))
    assert near_copies(data(one, other), ["a", "b"]) == ()
    assert near_copies(data(LABELS, LABELS), ["a", "b"]) == ()  # both without an error: nothing can be said


def test_the_ensemble_and_the_table_name_them(tmp_path: Path, make_member: Callable[..., Member]) -> None:
    one = make_member(tmp_path, "unet", quality=1.0)
    ((_, probs, _),) = one.store().batches(100)
    copy = make_member(tmp_path, "copy", probs=probs)
    make_member(tmp_path, "pspnet", quality=1.0)
    note = f"{one.name} is nearly the same member as {copy.name} (no pixel differs)"
    notes = combine(method="vote", folds=2, runs=tmp_path).ensemble.scores["verdict"]["notes"]
    assert [text.startswith(note) for text in notes if "nearly" in text] == [True]
    assert combine_all(folds=2, runs=tmp_path).attrs["notes"][0].startswith(note)

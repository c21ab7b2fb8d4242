"""Runs of pixels, against pycocotools and a plain decoder."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco_masks

from ensemble.data.formats.runs_of_pixels import from_counts, from_pairs, from_text

MASKS = arrays.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def encoded(mask: Any) -> str:
    counts: Any = coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    return counts.decode()


@given(mask=MASKS)
def test_texts_decode_to_what_pycocotools_encoded(mask: Any) -> None:
    assert np.array_equal(from_counts(from_text(encoded(mask)), *mask.shape), mask)


def test_long_runs_decode_to_what_pycocotools_encoded() -> None:
    mask = np.zeros((700, 900), np.bool_)
    mask[100:650, 20:800] = True
    mask[300:302, 5:890] = np.arange(885) % 3 == 0
    assert np.array_equal(from_counts(from_text(encoded(mask)), 700, 900), mask)


@given(text=st.text(st.characters(max_codepoint=127), max_size=12))
def test_damaged_texts_are_refused_or_numbers(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert from_text(text).dtype == np.int64


@given(mask=MASKS)
def test_pairs_decode_to_the_pixels_that_they_count(mask: Any) -> None:
    text, column_major = "", mask.T.ravel().tolist()
    for start, inside in enumerate(column_major):
        if inside:
            text += f" {start + 1} 1"  # one run for each pixel, counted from 1
    assert np.array_equal(from_pairs(text, *mask.shape), mask)


@given(mask=MASKS)
def test_pairs_of_whole_runs_agree_with_pycocotools(mask: Any) -> None:
    counts = from_text(encoded(mask)).tolist()
    starts = np.cumsum([0, *counts])[1::2] + 1
    pairs = [f"{start} {length}" for start, length in zip(starts, counts[1::2], strict=False)]
    assert np.array_equal(from_pairs(" ".join(pairs), *mask.shape), mask)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1", "pairs"),
        ("1 2 3", "pairs"),
        ("a b", "pairs"),
        ("-1 3", "pairs"),
        ("1.0 2", "pairs"),
        ("0 2", "outside of the image 3x4"),
        ("12 2", "outside of the image 3x4"),
        ("3 0", "outside of the image 3x4"),
        ("99999999999 99999999999", "outside of the image 3x4"),
    ],
)
def test_wrong_pairs_are_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        from_pairs(text, 3, 4)


@pytest.mark.parametrize("counts", [[11], [13], [-1, 13], []])
def test_runs_cover_the_image_exactly(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="cover"):
        from_counts(np.array(counts, np.int64), 3, 4)

"""Images and strips of images become chunks, each on disk as soon as it is full."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.runs.store import chunks
from ensemble.runs.store.chunk_writer import ChunkWriter, cut_anew
from ensemble.runs.store.codec import unpack


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(1, 12))
def test_rows_keep_their_order_however_they_come(heights: list[int], rows: int) -> None:
    image = np.arange(2 * sum(heights) * 3, dtype=np.uint8).reshape(2, -1, 3)
    cut = list(cut_anew(np.split(image, np.cumsum(heights)[:-1], axis=1) if heights else [], rows))
    assert [strip.shape[1] for strip in cut[:-1]] == [rows] * (len(cut) - 1)
    assert all(0 < strip.shape[1] <= rows for strip in cut)
    np.testing.assert_array_equal(np.concatenate([image[:, :0], *cut], axis=1), image)


def test_a_chunk_is_written_when_the_next_image_has_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 40)
    writer = ChunkWriter(tmp_path)
    images = [np.full((2, height, 2), height, np.uint8) for height in (4, 6, 1, 2)]
    written = list[int]()
    for codes, is_strip in zip(images, (False, False, False, True), strict=True):
        writer.add(codes, codes[0], is_strip=is_strip)
        codes[:] = 0  # the writer has its own copy
        written.append(len(writer.chunks))
    assert written == [0, 0, 1, 3]  # the two first ones have 40 codes together; a strip has a chunk to itself
    writer.flush()
    assert [chunk.images for chunk in writer.chunks] == [2, 1, 1]
    content = (tmp_path / writer.chunks[0].file).read_bytes()
    codes, labels = unpack(content, 2, [(4, 2), (6, 2)], has_labels=True)
    assert labels is not None
    assert [set(each.ravel().tolist()) for each in (*codes, *labels)] == [{4}, {6}, {4}, {6}]

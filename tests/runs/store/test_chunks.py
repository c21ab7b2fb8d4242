"""Which images share a chunk follows from their sizes alone, and stores of equal images keep their bytes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.core.errors import EnsError
from ensemble.core.files import digest
from ensemble.runs.store import Store, StoreWriter, chunks
from ensemble.runs.store.chunks import chunks_of, rows_per_strip

META = {"split": "validation", "split_hash": "s1", "data_hash": "d1"}
SIZES = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=30)


@settings(deadline=None)
@given(SIZES, st.integers(1, 3))
def test_chunks_cover_every_row_once_and_stay_small(sizes: list[tuple[int, int]], classes: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK_BYTES", 40)
        patch.setattr(chunks, "CUT_BYTES", 100)
        patch.setattr(chunks, "CHUNK_IMAGES", 5)
        made = list(chunks_of(classes, sizes))
        cut = [rows_per_strip(classes, size) < size[0] for size in sizes]
    rows = [
        (piece.image, row) for pieces in made for piece in pieces for row in range(piece.top, piece.top + piece.height)
    ]
    assert rows == [(image, row) for image, (height, _) in enumerate(sizes) for row in range(height)]
    for pieces in made:
        assert all(piece.width == sizes[piece.image][1] for piece in pieces)
        codes = [classes * piece.height * piece.width for piece in pieces]
        assert len(pieces) <= 5
        assert len(pieces) == 1 or sum(codes) <= 40
        assert len(pieces) == 1 or not any(cut[piece.image] for piece in pieces)
        assert all(code <= max(40, classes * 9) for code, piece in zip(codes, pieces, strict=True) if cut[piece.image])
    assert cut == [
        classes * height * width > 100 and max(1, 40 // (classes * width)) < height for height, width in sizes
    ]


def test_equal_images_fill_their_chunks_as_they_always_did() -> None:
    assert [len(each) for each in chunks_of(4, [(64, 128)] * 150)] == [64, 64, 22]
    assert [len(each) for each in chunks_of(5, [(512, 512)] * 7)] == [3, 3, 1]
    assert [len(each) for each in chunks_of(15, [(1024, 1024)] * 2)] == [1, 1]  # 15 MB of codes: not cut
    assert sum(1 for _ in chunks_of(19, [(1024, 2048)])) == 10  # 40 MB in strips of 4 MB
    assert [len(each) for each in chunks_of(19, [(1024, 2048)] * 2, cut=False)] == [1, 1]  # as version 1 stored it


def test_chunks_hold_four_megabytes() -> None:
    def most(classes: int, height: int, width: int) -> int:
        return max(map(len, chunks_of(classes, [(height, width)] * 200, cut=False)))

    assert most(4, 64, 128) == 64
    assert most(5, 512, 512) == 3
    assert most(150, 512, 512) == 1


def test_the_bytes_of_a_store_of_equal_images_are_those_of_version_1(tmp_path: Path) -> None:
    n, c, y, x = np.meshgrid(*map(np.arange, (70, 3, 20, 30)), indexing="ij")
    probs = ((n * 7 + c * c * 13 + y * 3 + x * 5) % 11 + 1).astype(np.float32)
    probs /= probs.sum(1, keepdims=True)
    labels = ((n + y * x)[:, 0] % 4).astype(np.uint8)
    labels[labels == 3] = 255
    ids = [f"image-{row}" for row in range(70)]
    with StoreWriter(tmp_path, classes=("a", "b", "c"), meta=META) as writer:
        writer.append(ids, probs, labels, groups=[each[-1] for each in ids])
    content: dict[str, Any] = json.loads((tmp_path / "manifest.json").read_text())
    plain = [
        zstandard.ZstdDecompressor().decompress((tmp_path / each["file"]).read_bytes()) for each in content["chunks"]
    ]
    # What the compressor makes of equal bytes, and so the digests, may change with its version.
    found = [hashlib.sha256(each).hexdigest()[:16] for each in plain]
    for each in (content, *content["chunks"]):
        each.pop("digest", None)
        each.pop("bytes", None)
    found.append(hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16])
    assert found == PINNED  # made with the program before images could differ in size


PINNED = ["6b34103bd97b6922", "679af16ed10a4d38", "4b7caa2b5d87e6dd"]


def store_of_sizes(path: Path) -> Store:
    with StoreWriter(path, classes=("a", "b"), meta=META) as writer:
        for name, size in (("one", (3, 4)), ("two", (4, 3)), ("three", (4, 3))):
            writer.append([name], np.full((1, 2, *size), 0.5, np.float32))
    return Store.open(path)


@pytest.mark.parametrize(
    "sizes",
    [
        [[3, 4], [4, 3]],
        [[3, 4], [4, 3], [4, 3], [4, 3]],
        [[3, 4], [4, 3], [0, 3]],
        [[3, 4], [4, 3], [4, -3]],
        [[3, 4], [4, 3], [4, 3, 1]],
        [[3, 4], [4, 3], [10**9, 10**9]],
        [[10**9, 3], [4, 3], [4, 3]],
        [],
        None,
        7,
    ],
)
def test_forged_sizes_with_a_right_digest_are_refused(tmp_path: Path, sizes: object) -> None:
    store = store_of_sizes(tmp_path)
    file = store.path / "manifest.json"
    fields = json.loads(file.read_text())
    assert (fields["version"], fields["sizes"]) == (2, [[3, 4], [4, 3], [4, 3]])
    del fields["digest"]
    fields["sizes"] = sizes
    fields["digest"] = digest(json.dumps(fields, sort_keys=True))
    file.write_text(json.dumps(fields))
    with pytest.raises(EnsError, match="damaged content"):
        Store.open(store.path)


def test_a_size_that_claims_more_than_a_chunk_holds_is_refused_when_read(tmp_path: Path) -> None:
    store = store_of_sizes(tmp_path)
    file = store.path / "manifest.json"
    fields = json.loads(file.read_text())
    del fields["digest"]
    fields["sizes"] = [[3, 4], [4, 3], [1000, 2000]]  # still one chunk, by its bytes
    fields["digest"] = digest(json.dumps(fields, sort_keys=True))
    file.write_text(json.dumps(fields))
    with pytest.raises(EnsError, match=r"chunk-00000\.zst is damaged: expected a frame of 4000048 values"):
        list(Store.open(store.path).batches())

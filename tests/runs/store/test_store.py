"""The probability store: what it keeps, what it refuses, what it survives."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.files import digest
from ensemble.runs.store import Store, StoreWriter
from ensemble.runs.store.codec import decode, encode

CLASSES = ("soil", "bedrock", "sand", "rock")
META = {"split": "validation", "split_hash": "s1", "data_hash": "d1"}
Floats = NDArray[np.float32]
Labels = NDArray[np.uint8]


def small(images: int, classes: int = 4, size: tuple[int, int] = (3, 5), seed: int = 0) -> tuple[Floats, Labels]:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(classes, 0.3), size=(images, *size)).astype(np.float32).transpose(0, 3, 1, 2)
    return probs, rng.integers(0, classes, (images, *size)).astype(np.uint8)


def write(path: Path, probs: Floats, labels: Labels | None = None, step: int = 7) -> Store:
    names = tuple(f"class-{each}" for each in range(probs.shape[1]))
    with StoreWriter(path, classes=names, meta=META) as writer:
        for start in range(0, len(probs), step):
            at = slice(start, start + step)
            ids = [f"image-{row}" for row in range(len(probs))[at]]
            writer.append(ids, probs[at], None if labels is None else labels[at], groups=[each[-1] for each in ids])
    return Store.open(path)


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


# A store, written and read


def test_round_trip(tmp_path: Path) -> None:
    probs, labels = small(150)
    store = write(tmp_path / "a" / "store", probs, labels)
    assert (store.n, store.classes, store.sizes) == (150, tuple(f"class-{k}" for k in range(4)), ((3, 5),) * 150)
    assert (store.split, store.split_hash, store.data_hash, store.has_labels) == ("validation", "s1", "d1", True)
    assert store.ids[-1] == "image-149"
    assert store.groups[-1] == "9"
    seen: list[int] = []
    for rows, back, back_labels in store.batches(size=20):
        assert back.dtype == np.float32
        assert back_labels is not None
        assert (back == decode(encode(probs[rows]))).all()
        assert (back_labels == labels[rows]).all()
        seen += rows.tolist()
    assert seen == list(range(150))
    store.verify()
    assert repr(store).endswith("store, 150 images of 3x5, 4 classes)")  # short: not all ids


@pytest.mark.parametrize("size", [1, 3, 64, 1000])
def test_chosen_rows_come_in_order_across_chunks(tmp_path: Path, size: int) -> None:
    probs, labels = small(150)
    store = write(tmp_path, probs, labels)
    rows = [0, 5, 62, 63, 64, 65, 128, 149]
    batches = list(store.codes_batches(size, rows))
    assert [len(each[0]) for each in batches[:-1]] == [size] * (len(batches) - 1)
    assert np.concatenate([each[0] for each in batches]).tolist() == rows
    assert (np.concatenate([each[1] for each in batches]) == encode(probs[rows])).all()
    assert (np.concatenate([each[2] for each in batches if each[2] is not None]) == labels[rows]).all()
    assert list(store.batches(rows=[])) == []


def test_without_labels(tmp_path: Path) -> None:
    store = write(tmp_path, small(5)[0])
    assert not store.has_labels
    assert [labels for _, _, labels in store.batches()] == [None]


def test_bytes_do_not_depend_on_how_they_were_appended(tmp_path: Path) -> None:
    probs, labels = small(150)
    stores = [write(tmp_path / str(step), probs, labels, step) for step in (1, 7, 64, 150)]
    assert [chunk.images for chunk in stores[0].chunks] == [64, 64, 22]
    for store in stores[1:]:
        assert contents(store.path) == contents(stores[0].path)


MEMORY = """
import sys, tracemalloc
from pathlib import Path
import numpy as np
from ensemble.runs.store import Store, StoreWriter, chunks

chunks.CHUNK_IMAGES = 4
meta = {"split": "s", "split_hash": "h", "data_hash": "d"}
batch = np.random.default_rng(0).dirichlet(np.ones(4), size=(4, 64, 64)).astype(np.float32).transpose(0, 3, 1, 2)
for images in (8, 96):
    path = Path(sys.argv[1]) / str(images)
    tracemalloc.start()
    with StoreWriter(path, classes=("a", "b", "c", "d"), meta=meta) as store_writer:
        for start in range(0, images, 4):
            store_writer.append([str(start + row) for row in range(4)], batch)
    writing = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    assert sum(len(rows) for rows, _, _ in Store.open(path).batches(size=6)) == images
    print(max(writing, tracemalloc.get_traced_memory()[1]))
    tracemalloc.stop()
"""


def test_memory_does_not_grow_with_the_store(tmp_path: Path) -> None:
    # In a process of its own: what other tests leave running would be counted too.
    done = subprocess.run([sys.executable, "-c", MEMORY, str(tmp_path)], capture_output=True, text=True, check=True)
    few, many = map(int, done.stdout.split())
    assert few > 6 * 4 * 64 * 64 * 4  # the float32 batch itself was seen
    assert many < few * 1.1


# Damaged, forged


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return write(tmp_path, *small(150))


def test_missing_chunk_is_named_when_opened(store: Store) -> None:
    (store.path / "chunk-00001.zst").unlink()
    with pytest.raises(EnsError, match=r"chunk-00001\.zst is missing.*make the member again"):
        Store.open(store.path)
    with pytest.raises(EnsError, match=r"chunk-00001\.zst cannot be read"):
        store.verify()


def test_truncated_chunk_is_named_when_opened(store: Store) -> None:
    file = store.path / "chunk-00002.zst"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(EnsError, match=r"expected \d+ bytes in .*chunk-00002\.zst, got \d+"):
        Store.open(store.path)


@pytest.mark.parametrize("where", [0, 5, 100, -1])
def test_flipped_bit_is_found_when_read(store: Store, where: int) -> None:
    file = store.path / "chunk-00001.zst"
    content = bytearray(file.read_bytes())
    content[where] ^= 1
    file.write_bytes(content)
    damaged = Store.open(store.path)
    with pytest.raises(EnsError, match=r"chunk-00001\.zst is damaged: its digest.*make the member again"):
        damaged.verify()
    assert next(damaged.batches(rows=[0]))[0].tolist() == [0]  # chunk 0 can still be read
    with pytest.raises(EnsError, match="chunk-00001"):
        list(damaged.batches())


@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff", b"[]", b"{}", b"null", b'{"version": 1}', b'{"version": "x", "digest": 3}']
)
def test_garbage_manifest(store: Store, content: bytes) -> None:
    (store.path / "manifest.json").write_bytes(content)
    with pytest.raises(EnsError, match=r"manifest\.json.*again"):
        Store.open(store.path)


def test_newer_manifest(store: Store) -> None:
    (store.path / "manifest.json").write_text('{"version": 3, "anything": []}')
    with pytest.raises(EnsError, match="has format version 3, this program reads up to 2; install a newer ens-toolkit"):
        Store.open(store.path)


def test_any_changed_field_of_the_manifest_is_found(store: Store) -> None:
    file = store.path / "manifest.json"
    text = file.read_text()
    changes = {"image-17": "image-71", '"s1"': '"s2"', '"has_labels": true': '"has_labels": false', '"6"': '"7"'}
    for before, after in changes.items():
        assert before in text
        file.write_text(text.replace(before, after, 1))
        with pytest.raises(EnsError, match="damaged content"):
            Store.open(store.path)


@pytest.mark.parametrize(
    "forge",
    [
        lambda m: m["chunks"][0].update(file="../chunk-00000.zst"),
        lambda m: m.update(height=100_000),
        lambda m: m.update(height=0),
        lambda m: m.update(ids=[], groups=[], chunks=[]),
        lambda m: m["groups"].pop(),
        lambda m: m["meta"].pop("split_hash"),
        lambda m: m.update(classes=[]),
        lambda m: m["chunks"].pop(),
        lambda m: m["chunks"][0].update(extra=1),
    ],
)
def test_forged_manifest_with_a_right_digest_is_refused(
    store: Store, forge: Callable[[dict[str, object]], None]
) -> None:
    file = store.path / "manifest.json"
    fields = json.loads(file.read_text())
    del fields["digest"]
    forge(fields)
    fields["digest"] = digest(json.dumps(fields, sort_keys=True))
    file.write_text(json.dumps(fields))
    with pytest.raises(EnsError, match="damaged content"):
        Store.open(store.path)


@pytest.mark.parametrize(
    ("size", "rows", "message"),
    [
        (0, None, "batch size of at least 1"),
        (8, [3, 2], "ascending rows from 0 to 149"),
        (8, [2, 2], "each once"),
        (8, [-1, 2], "from 0"),
        (8, [150], "to 149"),
        (8, np.ones(150, bool), "flatnonzero"),
        (8, [0.5], "row numbers, got float64"),
    ],
)
def test_bad_requests_are_refused_at_once(store: Store, size: int, rows: list[int] | None, message: str) -> None:
    with pytest.raises(EnsError, match=message):
        store.batches(size, rows)

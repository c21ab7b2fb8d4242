"""The probability store: what it keeps, what it refuses, what it survives."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.files import digest
from ensemble.runs.store import Store, StoreWriter, chunks, codec, writer
from ensemble.runs.store.codec import decode, encode, pack, unpack

CLASSES = ("soil", "bedrock", "sand", "rock")
META = {"split": "validation", "split_hash": "s1", "data_hash": "d1"}
Floats = NDArray[np.float32]
Labels = NDArray[np.uint8]


def smooth(noise: NDArray[np.float64], times: int) -> NDArray[np.float64]:
    """Neighbour averages, repeated: noise becomes the soft blobs of a segmentation."""
    for _ in range(times):
        for axis in (-1, -2):
            noise = (np.roll(noise, 1, axis) + noise + np.roll(noise, -1, axis)) / 3
    return noise / noise.std()


def member(images: int, sharpness: float = 3.0, seed: int = 0) -> tuple[Floats, Labels]:
    """Probabilities of a simulated network (soft blobs, pixel noise, a rare class) and labels it mostly predicts.

    The pixel noise is set so that the codes are as rough as those of a U-Net trained on Mars terrain (mean absolute
    second difference 0.83 there; 0.68 and 1.23 here at sharpness 1 and 3).
    """
    rng = np.random.default_rng(seed)
    shape = (images, 4, 64, 128)
    truth = smooth(rng.normal(size=shape), 40) - np.array([0, 0, 0, 2.5]).reshape(4, 1, 1)
    errors, noise = smooth(rng.normal(size=shape), 24), smooth(rng.normal(size=shape), 1)
    logits = sharpness * (truth + 0.5 * errors) + 0.03 * noise
    probs = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs /= probs.sum(axis=1, keepdims=True)
    labels = truth.argmax(axis=1).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.05] = 255
    return probs.astype(np.float32), labels


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


def log_loss(probs: Floats, labels: Labels) -> float:
    known = np.where(labels == 255, 0, labels)[:, None].astype(np.intp)
    picked = np.take_along_axis(probs, known, axis=1)[:, 0][labels != 255].astype(np.float64)
    return float(-np.log(np.maximum(picked, 1e-12)).mean())


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


# Codes


@settings(deadline=None, max_examples=150)
@given(
    arrays(
        np.float32, st.tuples(st.just(2), st.integers(1, 6), st.just(2), st.just(3)), elements=st.floats(0, 1, width=32)
    ),
    st.sampled_from([0.0, 1e-7, 1e-6, 1e-4, 1e-3]),
)
def test_argmax_survives_near_ties(noise: Floats, spread: float) -> None:
    # Nearly equal values, exact ties (spread 0) and differences far below one step of the code.
    probs = (1 + spread * noise) / (1 + spread * noise).sum(axis=1, keepdims=True)
    codes = encode(probs)
    ordered = np.sort(codes, axis=1)
    assert (codes.argmax(1) == probs.argmax(1)).all()
    assert codes.shape[1] == 1 or (ordered[:, -1] > ordered[:, -2]).all()
    assert (decode(codes).argmax(1) == probs.argmax(1)).all()


@pytest.mark.parametrize("classes", [1, 2, 150, 255])
def test_uniform_probabilities_keep_their_first_class(classes: int) -> None:
    codes = encode(np.full((1, classes, 2, 2), 1 / classes, np.float32))
    assert (codes[:, 1:] == codes[:, :1] - 1).all()
    assert (codes[:, 0] == round(127 * classes**-0.5)).all()


def test_codes_are_rounded_roots_and_decode_to_their_squares() -> None:
    probs = np.array([1.0, 0.9, 0.1, 0.0625, 0.9375, 0.0, 1e-6, 0.999999], np.float64)
    pairs = np.stack([probs, 1 - probs])[None, :, None]
    assert (encode(pairs) == np.round(127 * np.sqrt(pairs))).all()
    assert decode(np.array([127, 0], np.uint8).reshape(1, 2, 1, 1)).ravel() == pytest.approx(
        [1, 0.05 / 127**2], rel=1e-4
    )
    assert decode(np.array([90, 89], np.uint8).reshape(1, 2, 1, 1)).ravel() == pytest.approx(
        [8100 / 16021, 7921 / 16021]
    )


def test_decoding_into_the_place_of_one_member_among_others() -> None:
    codes = np.random.default_rng(0).integers(0, 128, (9, 2, 100, 300)).astype(np.uint8)  # blocks of 4, 4 and 1 images
    squares = np.where(codes == 0, 0.05, codes.astype(np.float64) ** 2)
    probs_mnchw = np.full((3, *codes.shape), -1, np.float32)
    decode(codes, out=probs_mnchw[1])
    np.testing.assert_allclose(probs_mnchw[1], squares / squares.sum(1, keepdims=True), rtol=1e-6)
    assert (probs_mnchw[[0, 2]] == -1).all()
    assert (probs_mnchw[1] == decode(codes)).all()
    assert decode(codes[:0]).shape == (0, 2, 100, 300)


@pytest.mark.parametrize("sharpness", [1.0, 3.0])
def test_log_loss_and_argmax_of_a_realistic_member(sharpness: float) -> None:
    probs, labels = member(24, sharpness)
    back = decode(encode(probs))
    assert (back.argmax(1) != probs.argmax(1)).sum() == 0
    assert abs(log_loss(back, labels) - log_loss(probs, labels)) < 0.0005
    assert np.abs(back.sum(axis=1) - 1).max() < 1e-6
    assert np.abs(back - probs).max() < 0.02
    assert back.min() > 0


def test_one_changed_member_value_is_told_from_zero() -> None:
    # The reason for the square root: linear 8-bit codes would make both of these 0.
    assert encode(np.array([0.9999, 0.0001]).reshape(1, 2, 1, 1))[0, 1, 0, 0] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: np.where(p == p[3, 1, 0, 2], np.nan, p), "nan.* in image 3 at row 0, column 2"),
        (lambda p: np.log(p + 1e-9), "not logits"),
        (lambda p: p * 1.002, "summing to 1"),
        (lambda p: p - np.array([0.6, -0.6, 0, 0]).reshape(4, 1, 1), ">= 0"),
        (lambda p: p * np.inf, "summing to 1"),
        (lambda p: p[0], r"images, classes, height, width.*\(4, 3, 5\)"),
        (lambda p: (p * 255).astype(np.uint8), "uint8"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered in multiply:RuntimeWarning")  # 0 * inf, on purpose
def test_what_are_not_probabilities_is_refused(change: Callable[[Floats], Floats], message: str) -> None:
    with pytest.raises(EnsError, match=message):
        encode(change(small(5)[0]))


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 1, 7), (3, 2, 5, 1), (2, 5, 33, 130)])
def test_packing_is_lossless_for_any_codes(shape: tuple[int, int, int, int]) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, shape).astype(np.uint8)
    labels = rng.integers(0, 256, (shape[0], *shape[2:])).astype(np.uint8)
    sizes = [shape[2:]] * shape[0]
    back, back_labels = unpack(pack(list(codes), list(labels)), shape[1], sizes, True)
    assert back_labels is not None
    assert (np.stack(back) == codes).all()
    assert (np.stack(back_labels) == labels).all()
    assert (np.stack(unpack(pack(list(codes), None), shape[1], sizes, False)[0]) == codes).all()


def test_packing_is_lossless_where_sums_exceed_32_bits() -> None:
    rows, columns = np.arange(1, 3001), np.arange(1, 3001)
    codes = (-np.multiply.outer(rows, columns)).astype(np.uint8).reshape(1, 1, 3000, 3000)  # every difference is 255
    assert (unpack(pack(list(codes), None), 1, [(3000, 3000)], False)[0][0] == codes[0]).all()


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


def test_chunks_hold_four_megabytes() -> None:
    def most(classes: int, height: int, width: int) -> int:
        return max(map(len, chunks.chunks_of(classes, [(height, width)] * 200, cut=False)))

    assert most(4, 64, 128) == 64
    assert most(5, 512, 512) == 3
    assert most(150, 512, 512) == 1


@pytest.mark.parametrize("sharpness", [1.0, 3.0])
def test_size_of_a_realistic_member(tmp_path: Path, sharpness: float) -> None:
    probs, labels = member(24, sharpness)
    with_labels = write(tmp_path / "with", probs, labels)
    assert with_labels.nbytes == sum(len(each) for each in contents(with_labels.path).values())
    assert with_labels.bytes_per_value == pytest.approx(with_labels.nbytes / (24 * 4 * 64 * 128))
    store = write(tmp_path / "without", probs)
    assert store.bytes_per_value < 0.4
    plain = zstandard.compress(encode(probs).tobytes(), level=3)
    assert store.nbytes < 0.8 * len(plain)  # what the differences are for


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


# Interrupted, damaged, forged


def test_interrupted_writer_leaves_nothing(tmp_path: Path) -> None:
    probs, labels = small(150)
    write(tmp_path, probs, labels)  # an older store must not answer for the interrupted one

    def interrupted() -> None:
        with StoreWriter(tmp_path, classes=CLASSES, meta=META) as writer:
            writer.append([str(row) for row in range(150)], probs, labels)
            assert (tmp_path / "chunk-00001.zst").exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert contents(tmp_path) == {}
    with pytest.raises(EnsError, match=r"but it has no manifest\.json; make the member again"):
        Store.open(tmp_path)


def test_killed_writer_is_no_store_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    probs, labels = small(150)
    whole = contents(write(tmp_path / "whole", probs, labels).path)
    killed = tmp_path / "killed"
    writer = StoreWriter(killed, classes=CLASSES, meta=META).__enter__()
    writer.append([str(row) for row in range(150)], probs, labels)  # two chunks on disk; then the process dies
    for stray in (".chunk-00002.zst.x1.tmp", ".manifest.json.x2.tmp", "chunk-00009.zst"):
        (killed / stray).write_bytes(b"half")
    with pytest.raises(EnsError, match=r"manifest\.json"):
        Store.open(killed)
    assert contents(write(killed, probs, labels).path) == whole


def test_full_disk_leaves_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise EnsError(f"cannot write {path}: No space left on device")

    probs, _ = small(100)
    with monkeypatch.context() as patch:
        patch.setattr(writer, "write_bytes", full)
        with pytest.raises(EnsError, match="No space left"):
            write(tmp_path, probs)
    assert contents(tmp_path) == {}


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


@pytest.mark.parametrize("content", [zstandard.compress(bytes(10_000_000)), b"not a frame at all", b""])
def test_forged_frames_are_refused_before_they_are_unpacked(content: bytes) -> None:
    with pytest.raises(EnsError, match="frame"):
        unpack(content, 4, [(3, 5)] * 2, True)


def test_truncated_frame_is_refused() -> None:
    codes = encode(small(5)[0])
    with pytest.raises(EnsError, match="damaged bytes"):
        unpack(pack(list(codes), None)[:-6], 4, [(3, 5)] * 5, False)


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("notes")
    with pytest.raises(EnsError, match="expected a directory"):
        write(tmp_path / "store", small(2)[0])
    assert (tmp_path / "store").read_text() == "notes"


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ids": ["a", "a"]}, "'a' was given twice"),
        ({"ids": ["first", "b"]}, "'first' was given twice"),
        ({"ids": ["a"]}, r"of 1 images and 4 classes .*, got the shape \(2, 4, 3, 5\); append images of one size at a"),
        ({"probs": small(2, size=(4, 5))[0]}, r"labels of shape \(2, 4, 5\)"),
        ({"probs": small(2, classes=3)[0]}, r"\(2, 3, 3, 5\)"),
        ({"probs": small(2)[0][:, :, :0]}, r"\(2, 4, 0, 5\)"),
        ({"probs": small(2)[0] * 2}, "summing to 1"),
        ({"labels": None}, "every batch or for none"),
        ({"labels": np.zeros((2, 5, 3), np.uint8)}, r"labels of shape \(2, 3, 5\)"),
        ({"labels": np.full((2, 3, 5), 4)}, "0..3 or 255 for void, got 4"),
        ({"labels": np.full((2, 3, 5), -1)}, "got -1"),
        ({"labels": np.zeros((2, 3, 5))}, "whole-number labels, got float64"),
        ({"groups": ["g"]}, "1 groups for 2 images"),
    ],
)
def test_batches_that_do_not_fit_add_nothing(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    probs, labels = small(2)
    given: dict[str, object] = {"ids": ["a", "b"], "probs": probs, "labels": labels, "groups": None} | arguments
    with StoreWriter(tmp_path, classes=CLASSES, meta=META) as writer:
        writer.append(["first"], probs[:1], labels[:1].astype(np.int64))
        with pytest.raises(EnsError, match=message):
            writer.append(given["ids"], given["probs"], given["labels"], groups=given["groups"])  # pyright: ignore[reportArgumentType]
        writer.append(["a", "b"], probs, labels)
    assert Store.open(tmp_path).ids == Store.open(tmp_path).groups == ("first", "a", "b")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "c"], "expected 'b' as image 1 of the split, got 'c'; append in the split's order"),
        (["a", "b", "c", "d"], "expected no more images as image 3 of the split, got 'd'"),
        (["a", "b"], "expected 3 images in the store .*, got 2; append the whole split"),
        ([], "expected 3 images"),
    ],
)
def test_expected_ids(tmp_path: Path, ids: list[str], message: str) -> None:
    probs, _ = small(4)
    with (
        pytest.raises(EnsError, match=message),
        StoreWriter(tmp_path, classes=CLASSES, meta=META, ids=["a", "b", "c"]) as writer,
    ):
        writer.append(ids, probs[: len(ids)])
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ()}, "1 to 255 different class names, got 0"),
        ({"classes": ("soil", "soil")}, "different class names"),
        ({"meta": {"split": "validation"}}, "got no split_hash, data_hash; add it"),
    ],
)
def test_writer_arguments(tmp_path: Path, change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"classes": CLASSES, "meta": META} | change
    with pytest.raises(EnsError, match=message):
        StoreWriter(tmp_path, **arguments)  # pyright: ignore[reportArgumentType]


def test_an_empty_store_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(EnsError, match="expected at least one image"),
        StoreWriter(tmp_path, classes=CLASSES, meta=META),
    ):
        pass


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


def test_examples_in_the_documentation_run() -> None:
    assert doctest.testmod(codec).attempted > 0
    assert doctest.testmod(codec).failed == 0

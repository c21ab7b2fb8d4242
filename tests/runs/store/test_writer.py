"""Writing a store: a killed or interrupted writer leaves none, and batches that do not fit are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ensemble.core.errors import EnsError
from ensemble.runs.store import Store, StoreWriter, chunk_writer
from tests.runs.store.test_store import CLASSES, META, contents, small, write


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
        patch.setattr(chunk_writer, "write_bytes", full)
        with pytest.raises(EnsError, match="No space left"):
            write(tmp_path, probs)
    assert contents(tmp_path) == {}


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("notes")
    with pytest.raises(EnsError, match="expected a directory"):
        write(tmp_path / "store", small(2)[0])
    assert (tmp_path / "store").read_text() == "notes"


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

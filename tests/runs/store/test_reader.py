"""Images of nine sizes, and large ones in strips, come back as they were written, in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.runs.store import Store, StoreWriter, chunks, decode, encode, parts_of

CLASSES = ("soil", "rock", "sand")
META = {"split": "validation", "split_hash": "s1", "data_hash": "d1"}
SIZES = [(3, 5), (3, 5), (8, 2), (1, 1), (40, 9), (9, 40), (5, 3), (64, 48), (3, 5), (2, 31), (70, 30)]
Image = tuple[NDArray[np.float32], NDArray[np.uint8]]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 500 bytes; images of more than 3,000 codes are cut, so (64, 48) and (70, 30)."""
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 500)
    monkeypatch.setattr(chunks, "CUT_BYTES", 3000)


def images() -> list[Image]:
    rng = np.random.default_rng(0)
    return [
        (
            np.moveaxis(rng.dirichlet(np.full(len(CLASSES), 0.5), size).astype(np.float32), -1, 0),
            rng.choice(np.array([0, 1, 2, 255], np.uint8), size),
        )
        for size in SIZES
    ]


def write(path: Path, step: int | None = None, labelled: bool = True) -> Store:
    """Write the images one by one, whole or in strips of ``step`` rows."""

    def strips(probs: NDArray[np.float32], step: int) -> Iterator[NDArray[np.float32]]:
        return (probs[:, top : top + step] for top in range(0, probs.shape[1], step))

    with StoreWriter(path, classes=CLASSES, meta=META) as writer:
        for row, (probs, labels) in enumerate(images()):
            if step is None:
                writer.append([str(row)], probs[None], labels[None] if labelled else None, groups=[f"g{row // 2}"])
            else:
                given = labels if labelled else None
                writer.append_strips(str(row), SIZES[row], strips(probs, step), given, group=f"g{row // 2}")
    return Store.open(path)


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.usefixtures("small_chunks")
def test_images_of_many_sizes_come_back(tmp_path: Path, labelled: bool) -> None:
    store = write(tmp_path, labelled=labelled)
    assert store.sizes == tuple(SIZES)
    assert store.groups[:3] == ("g0", "g0", "g1")
    assert repr(store).endswith("11 images of at most 70x48, 3 classes)")
    assert store.bytes_per_value == store.nbytes / (3 * sum(height * width for height, width in SIZES))
    store.verify()
    seen = list[int]()
    for rows, probs, labels in store.batches(2):
        seen += rows.tolist()
        assert (labels is not None) == labelled
        for at, row in enumerate(rows.tolist()):
            expected, truth = images()[row]
            assert (probs[at] == decode(encode(expected[None]))[0]).all()
            assert labels is None or (labels[at] == truth).all()
    assert seen == list(range(len(SIZES)))
    assert [at.tolist() for at, _, _ in store.batches(64, [1, 4, 7, 8])] == [[1], [4], [7], [8]]


@pytest.mark.usefixtures("small_chunks")
def test_bytes_do_not_depend_on_the_strips(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole")
    for step in (1, 3, 7, 1000):
        strips = write(tmp_path / str(step), step)
        assert {file.name: file.read_bytes() for file in strips.path.iterdir()} == {
            file.name: file.read_bytes() for file in whole.path.iterdir()
        }


@pytest.mark.parametrize("pixels", [1, 60, 300, 10_000])
@pytest.mark.parametrize("halo", [0, 1, 5])
@pytest.mark.usefixtures("small_chunks")
def test_a_part_is_the_rows_of_its_image(tmp_path: Path, pixels: int, halo: int) -> None:
    store = write(tmp_path)
    reader, unpacked = store.reader(), list[int]()
    unpack = reader.unpack
    reader.unpack = lambda index: unpacked.append(index) or unpack(index)
    for part in parts_of(store.sizes, range(store.n), pixels=pixels, halo=halo):
        codes, labels = reader.read(part)
        assert labels is not None
        assert labels.shape == (len(part.images), part.bottom - part.top, part.size[1])
        for at, image in enumerate(part.images):
            probs, truth = images()[image]
            assert (codes[at] == encode(probs[None])[0, :, part.first : part.last]).all()
            assert (labels[at] == truth[part.top : part.bottom]).all()
    if halo < 4:  # rows of the strip above are still held
        assert unpacked == list(range(len(store.chunks)))


@pytest.mark.usefixtures("small_chunks")
def test_a_damaged_strip_is_named(tmp_path: Path) -> None:
    store = write(tmp_path)
    last = store.path / store.chunks[-1].file
    content = bytearray(last.read_bytes())
    content[-1] ^= 1
    last.write_bytes(content)
    with pytest.raises(EnsError, match=f"{last.name} is damaged: its digest"):
        list(store.batches(rows=[10]))
    assert len(list(store.batches(rows=[7]))) == 1


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(3, 4, 5)], "expected strips of 6 rows together for 'a', got 4 rows"),
        ([(3, 4, 5), (3, 3, 5)], r"6 rows together for 'a', got the shape \(3, 3, 5\) after 4 rows"),
        ([(2, 6, 5)], r"strips of 3 classes, 5 columns .* got the shape \(2, 6, 5\)"),
        ([(3, 6, 4)], "5 columns"),
        ([(1, 3, 6, 5)], "3 classes"),
    ],
)
def test_strips_that_do_not_fit_leave_no_store(tmp_path: Path, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(EnsError, match=message), StoreWriter(tmp_path, classes=CLASSES, meta=META) as writer:
        writer.append_strips("a", (6, 5), (np.full(shape, 1 / 3, np.float32) for shape in shapes))
    assert list(tmp_path.iterdir()) == []


MEMORY = """
import sys, tracemalloc
from pathlib import Path
import numpy as np
from ensemble.runs.store import Store, StoreWriter, chunks, parts_of

chunks.CHUNK_BYTES, chunks.CUT_BYTES = 100_000, 400_000
meta = {"split": "s", "split_hash": "h", "data_hash": "d"}
strip = np.full((4, 10, 256), 0.25, np.float32)
for height in (1000, 8000):
    path = Path(sys.argv[1]) / str(height)
    labels = np.zeros((height, 256), np.uint8)
    tracemalloc.start()
    with StoreWriter(path, classes=("a", "b", "c", "d"), meta=meta) as writer:
        writer.append_strips("x", (height, 256), (strip for _ in range(0, height, 10)), None)
    writing = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    store = Store.open(path)
    reader, rows = store.reader(), 0
    for part in parts_of(store.sizes, [0], pixels=10_000, halo=1):
        rows += reader.read(part)[0][:, :, part.inside].shape[2]
    assert rows == height
    print(max(writing, tracemalloc.get_traced_memory()[1]))
    tracemalloc.stop()
"""


def test_memory_does_not_grow_with_the_image(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", MEMORY, str(tmp_path)], capture_output=True, text=True, check=True)
    few, many = map(int, done.stdout.split())
    assert few > 100_000  # a strip was seen
    assert many < few * 1.2

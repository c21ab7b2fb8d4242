"""Decoded images are kept in memory, on disk, or not at all; what is returned is always the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ensemble.core.threads import in_threads
from ensemble.data import pixel_cache, pixel_folder
from ensemble.data.pixel_cache import PixelCache
from ensemble.data.pixel_folder import PixelFolder

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 150, 140, 3), dtype=np.uint8)
SIZE = IMAGES[0].nbytes


class Reader:
    """Reads images through a cache, and counts what is decoded."""

    def __init__(self, key: str = "a") -> None:
        self.cache, self.decoded = PixelCache(PixelFolder(key)), list[int]()

    def __call__(self, number: int, *window: tuple[int, int], **more: Any) -> NDArray[np.generic]:
        def decode() -> NDArray[np.generic]:
            self.decoded.append(number)
            return IMAGES[number].copy()

        return self.cache.read(("image", str(number)), decode, *window, **more)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: tmp_path)
    limit(monkeypatch, memory=2)
    return tmp_path / "pixels" / "a"


def limit(monkeypatch: pytest.MonkeyPatch, *, memory: float, disk: float = 1000) -> None:
    """Let the memory have room for some images, and the disk."""
    monkeypatch.setattr(PixelCache, "room", lambda _: memory * SIZE)
    monkeypatch.setattr(pixel_folder, "free_disk", lambda _: 2 * disk * SIZE)


def check(reader: Reader) -> None:
    for number in range(6):
        np.testing.assert_array_equal(reader(number), IMAGES[number])
        np.testing.assert_array_equal(reader(number, (7, 133), (100, 140)), IMAGES[number, 7:133, 100:140])


def test_memory_comes_first_and_then_the_disk(folder: Path) -> None:
    reader = Reader()
    check(reader)
    check(reader)
    assert reader.decoded == [0, 1, 2, 3, 4, 5]
    assert len(list(folder.iterdir())) == 4
    again = Reader()  # another process finds what is on disk
    check(again)
    assert again.decoded == [0, 1]


def test_nothing_is_written_while_all_fits_in_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, memory=6)
    reader = Reader()
    check(reader)
    check(reader)
    assert reader.decoded == [0, 1, 2, 3, 4, 5]
    assert not folder.exists()


def test_without_room_images_are_decoded_on_demand(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, memory=1, disk=0)
    reader = Reader()
    check(reader)
    assert reader.decoded == [0, *(number for number in range(1, 6) for _ in range(2))]
    assert not folder.exists()


def test_images_that_are_not_for_the_disk_stay_away_from_it(folder: Path) -> None:
    reader = Reader()
    for number in range(6):
        reader(number, disk=False)
    assert not folder.exists()


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "removed"])
def test_a_damaged_file_is_decoded_anew_and_replaced(
    folder: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    limit(monkeypatch, memory=0)
    check(Reader())
    for file in folder.iterdir():
        raw = bytearray(file.read_bytes())
        raw[len(raw) // 2] ^= 4
        contents = {"flipped": raw, "cut": raw[: len(raw) // 2], "empty": b""}
        file.write_bytes(contents[damage]) if damage in contents else file.unlink()
    again, third = Reader(), Reader()
    check(again)
    assert again.decoded == [0, 1, 2, 3, 4, 5]
    check(third)
    assert third.decoded == []


def test_the_share_of_the_memory_counts_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    cache = PixelCache(PixelFolder("a"), share=0.5)
    monkeypatch.setattr(pixel_cache, "free_memory", lambda: 4 * SIZE)
    assert cache.room() == 2 * SIZE
    cache.read(("image", "0"), lambda: IMAGES[0])
    monkeypatch.setattr(pixel_cache, "free_memory", lambda: 3 * SIZE)
    assert cache.room() == 2 * SIZE


def test_threads_keep_no_image_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, memory=3)
    reader = Reader()
    images = in_threads(reader, [0, 1, 2] * 20)
    for number, image in zip([0, 1, 2] * 20, images, strict=True):
        np.testing.assert_array_equal(image, IMAGES[number])
    assert reader.cache._bytes == 3 * SIZE  # pyright: ignore[reportPrivateUsage]


def test_a_note_says_where_pixels_are_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = PixelCache(PixelFolder("a"))
    assert cache.note(2 * SIZE) is None
    note = cache.note(3 * SIZE)
    assert note is not None
    assert note.startswith("decoded images and masks take 0.000189 GB, more than 25 % of the free memory; they are")
    assert note.endswith(f"kept in {folder}, which may be deleted at any time")
    limit(monkeypatch, memory=2, disk=2)
    note = cache.note(3 * SIZE)
    assert note is not None
    assert f"more than the 0.000126 GB that may be kept in {folder.parent} (50 % of what is free there)" in note
    assert "the others are decoded whenever they are needed, which is slower: free disk space, or set" in note

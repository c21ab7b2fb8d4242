"""Pixels on disk: room, other data sets, two processes, and disks that fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ensemble.data import pixel_folder
from ensemble.data.pixel_folder import PixelFolder

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
SIZE = 40 + 4 + PIXELS.nbytes  # of a file: head, one checksum, one block


@pytest.fixture(autouse=True)
def pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all pixels; the disk has room for ten images."""
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: tmp_path)
    folder = tmp_path / "pixels"

    def free(_: Path) -> int:
        return 20 * SIZE - sum(file.stat().st_size for file in folder.rglob("*.px"))

    monkeypatch.setattr(pixel_folder, "free_disk", free)
    return folder


def fill(key: str, images: int, age: float = 0.0) -> PixelFolder:
    folder = PixelFolder(key)
    for number in range(images):
        folder.write(("image", str(number)), PIXELS)
    used = time.time() - age
    os.utime(folder.path, (used, used))
    return folder


def test_what_is_written_is_read_by_its_name() -> None:
    folder = PixelFolder("a")
    assert folder.read(("image", "train", "x")) is None
    folder.write(("image", "train", "x"), PIXELS)
    np.testing.assert_array_equal(folder.read(("image", "train", "x")), PIXELS)
    np.testing.assert_array_equal(folder.read(("image", "train", "x"), (3, 9), (4, 50)), PIXELS[3:9, 4:50])
    assert folder.read(("image", "train", "y")) is None
    assert PixelFolder("b").read(("image", "train", "x")) is None


def test_half_of_the_free_disk_is_used(pixels: Path) -> None:
    fill("a", 12)
    assert len(list((pixels / "a").iterdir())) == 10
    fill("a", 14)  # another process: those that are there are written again, no more
    assert len(list((pixels / "a").iterdir())) == 10


def test_the_data_sets_that_were_used_longest_ago_make_room(pixels: Path) -> None:
    fill("old", 3, age=9000)
    fill("older", 3, age=90_000)
    fill("now", 2)
    assert PixelFolder("new").room() == 8 * SIZE  # ten, less those in use
    fill("new", 5)
    assert {folder.name for folder in pixels.iterdir()} == {"old", "now", "new"}
    fill("new", 9)
    assert {folder.name: len(list(folder.iterdir())) for folder in pixels.iterdir()} == {"now": 2, "new": 8}


def test_reading_counts_as_use(pixels: Path) -> None:
    fill("a", 1, age=9000)
    assert PixelFolder("a").read(("image", "0")) is not None
    assert time.time() - (pixels / "a").stat().st_mtime < 60


def test_a_disk_that_fails_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []

    def full(path: Path, *_: object) -> None:
        calls.append(path)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pixel_folder, "write_pixels", full)
    folder = PixelFolder("a")
    folder.write(("image", "0"), PIXELS)
    folder.write(("image", "1"), PIXELS)
    assert len(calls) == 1
    assert folder.read(("image", "0")) is None


def test_a_file_in_place_of_the_folder_does_no_harm(pixels: Path) -> None:
    pixels.write_text("not a folder")
    folder = PixelFolder("a")
    folder.write(("image", "0"), PIXELS)
    assert folder.read(("image", "0")) is None


def test_a_folder_that_is_removed_meanwhile_is_made_again(pixels: Path) -> None:
    folder = fill("a", 2)
    shutil.rmtree(pixels / "a")
    assert folder.read(("image", "0")) is None
    folder.write(("image", "0"), PIXELS)
    np.testing.assert_array_equal(folder.read(("image", "0")), PIXELS)


PROGRAM = """
import sys, numpy as np, platformdirs
from pathlib import Path
platformdirs.user_cache_path = lambda *_, **__: Path(sys.argv[1])
from ensemble.data.pixel_folder import PixelFolder
for turn in range(30):
    folder = PixelFolder("shared")
    for number in range(8):
        pixels = np.full((200, 300, 3), number, np.uint8)
        found = folder.read(("image", str(number)), (50, 190), (100, 290))
        assert found is None or (found == number).all()
        folder.write(("image", str(number)), pixels)
"""


def test_two_processes_write_and_read_the_same_files(pixels: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(pixels.parent)]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert sorted(file.suffix for file in (pixels / "shared").iterdir()) == [".px"] * 8
    found = [PixelFolder("shared").read(("image", str(number))) for number in range(8)]
    assert [None if image is None else int(image.max()) for image in found] == list(range(8))

"""Files of decoded pixels give the window that was written, or nothing."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ensemble.data import pixel_file
from ensemble.data.pixel_file import read_pixels, write_pixels


def pixels_of(shape: tuple[int, ...], dtype: str = "uint8") -> NDArray[Any]:
    noise = np.random.default_rng(0).integers(0, 256, shape)
    return noise.astype(dtype) if dtype == "uint8" else (noise / 255).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("shape", [(300, 200, 3), (128, 256, 1), (130, 5, 7), (1, 1, 2), (257, 129)])
def test_every_window_is_the_slice(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    pixels, path = pixels_of(shape, dtype), tmp_path / "folder" / "a.px"
    write_pixels(path, pixels, "a")
    whole = read_pixels(path, "a")
    assert whole is not None
    assert whole.dtype == pixels.dtype
    np.testing.assert_array_equal(whole, pixels)
    height, width = shape[:2]
    rows = {(0, 1), (height - 1, height), (min(127, height - 1), min(129, height)), (height // 3, height)}
    columns = {(0, 1), (width - 1, width), (min(127, width - 1), min(130, width)), (width // 3, width)}
    for (top, bottom), (left, right) in product(rows, columns):
        window = read_pixels(path, "a", (top, bottom), (left, right))
        assert window is not None
        np.testing.assert_array_equal(window, pixels[top:bottom, left:right])


def test_an_image_that_is_not_contiguous_is_written_as_it_is(tmp_path: Path) -> None:
    pixels = pixels_of((3, 150, 140)).transpose(1, 2, 0)[::-1]
    write_pixels(tmp_path / "a.px", pixels, "a")
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.px", "a"), pixels)


def test_a_window_reads_the_blocks_that_it_touches_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.px"
    write_pixels(path, pixels_of((1280, 1280, 3)), "a")
    counts: list[int] = []
    read = pixel_file._read  # pyright: ignore[reportPrivateUsage]

    def counting(stream: Any, count: int) -> bytes:
        counts.append(count)
        return read(stream, count)

    monkeypatch.setattr(pixel_file, "_read", counting)
    assert read_pixels(path, "a", (130, 386), (130, 386)) is not None
    assert sum(counts) == 40 + 4 * 100 + 9 * 128 * 128 * 3


def test_no_file_and_another_key_give_nothing(tmp_path: Path) -> None:
    assert read_pixels(tmp_path / "a.px", "a") is None
    write_pixels(tmp_path / "a.px", pixels_of((5, 6)), "a")
    assert read_pixels(tmp_path / "a.px", "b") is None
    (tmp_path / "folder.px").mkdir()
    assert read_pixels(tmp_path / "folder.px", "a") is None


def test_no_flipped_bit_is_read_as_pixels(tmp_path: Path) -> None:
    pixels, path = pixels_of((6, 5, 2)), tmp_path / "a.px"
    write_pixels(path, pixels, "a")
    kept = path.read_bytes()
    for bit in range(8 * len(kept)):
        raw = bytearray(kept)
        raw[bit // 8] ^= 1 << bit % 8
        path.write_bytes(raw)
        assert read_pixels(path, "a") is None, bit


def test_no_file_that_was_cut_short_is_read(tmp_path: Path) -> None:
    pixels, path = pixels_of((6, 5, 2)), tmp_path / "a.px"
    write_pixels(path, pixels, "a")
    kept = path.read_bytes()
    for length in range(len(kept)):
        path.write_bytes(kept[:length])
        assert read_pixels(path, "a") is None, length


def test_damage_elsewhere_does_not_spoil_a_window(tmp_path: Path) -> None:
    pixels, path = pixels_of((300, 300, 3)), tmp_path / "a.px"
    write_pixels(path, pixels, "a")
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    np.testing.assert_array_equal(read_pixels(path, "a", (0, 200), (0, 200)), pixels[:200, :200])
    assert read_pixels(path, "a", (200, 300), (200, 300)) is None


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pixel_file.zlib, "crc32", full)
    with pytest.raises(OSError, match="No space left"):
        write_pixels(tmp_path / "a.px", pixels_of((6, 5)), "a")
    assert list(tmp_path.iterdir()) == []

"""PNG, JPEG, BMP and WebP: all bits, turned as viewers turn them, sizes checked, masks with their own numbers."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ensemble.core.errors import EnsError
from ensemble.data.formats.header import MAX_PIXELS
from ensemble.data.formats.image_files import image_header, read_image, read_mask

GREY = np.random.default_rng(0).integers(0, 256, (36, 40), dtype=np.uint8)
RGB = np.random.default_rng(1).integers(0, 256, (36, 40, 3), dtype=np.uint8)
IDS = np.random.default_rng(2).integers(0, 4, (36, 40), dtype=np.uint8)


def png(width: int, height: int, *parts: tuple[bytes, bytes], bits: int = 8, colour: int = 0) -> bytes:
    """Return a PNG that claims any size."""
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = [(b"IHDR", head), *(parts or [(b"IDAT", zlib.compress(bytes(9)))]), (b"IEND", b"")]
    packed = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def exif(orientation: int) -> Image.Exif:
    content = Image.Exif()
    content[0x0112] = orientation
    return content


# ---------------------------------------------------------------- orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
def test_images_are_turned_as_viewers_turn_them(tmp_path: Path, orientation: int, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(RGB).save(path, exif=exif(orientation), **options)
    with Image.open(path) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture))
    image, header = read_image(path), image_header(path)
    np.testing.assert_array_equal(image, expected)
    assert (header.height, header.width, header.bands) == expected.shape
    assert header.orientation == orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_are_turned_as_their_images(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "m.png"
    Image.fromarray(IDS).save(path, exif=exif(orientation))
    with Image.open(path) as picture:
        np.testing.assert_array_equal(read_mask(path), np.asarray(ImageOps.exif_transpose(picture)))


@pytest.mark.parametrize("content", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"x"])
def test_exif_that_cannot_be_read_turns_nothing(tmp_path: Path, content: bytes) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=content)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RGB)


# ---------------------------------------------------------------- kinds


@pytest.mark.parametrize(("suffix", "options"), [("bmp", {}), ("webp", {"lossless": True})])
@pytest.mark.parametrize("array", [GREY, RGB], ids=["grey", "rgb"])
def test_bmp_and_webp_are_read(tmp_path: Path, array: NDArray[np.uint8], suffix: str, options: dict[str, Any]) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(array).save(path, **options)
    expected = array.reshape(36, 40, -1)
    np.testing.assert_array_equal(read_image(path), np.broadcast_to(expected, read_image(path).shape))
    Image.fromarray(IDS).save(path, **options)
    np.testing.assert_array_equal(read_mask(path), IDS)


def test_the_content_decides_not_the_ending(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.bmp")
    (tmp_path / "a.bmp").rename(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RGB)


@pytest.mark.parametrize("bands", [3, 4])
def test_colours_of_sixteen_bits_keep_them(tmp_path: Path, bands: int) -> None:
    wide = np.random.default_rng(3).integers(0, 65536, (36, 40, bands), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), wide[..., [2, 1, 0, 3][:bands]])
    image = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(image, wide[..., :3])
    assert image.dtype == np.uint16
    assert image_header(tmp_path / "a.png").dtype == "uint16"


def test_grey_with_alpha_is_grey(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([GREY, IDS]), "LA").save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[..., 0], GREY)
    assert image_header(tmp_path / "a.png").bands == read_image(tmp_path / "a.png").shape[2] == 1


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.fromarray(RGB).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert read_image(tmp_path / "a.jpg").shape == (36, 40, 3)


@pytest.mark.parametrize(("bits", "top"), [(1, 1), (2, 3), (4, 15), (8, 255)])
def test_ids_of_few_bits_are_not_stretched(tmp_path: Path, bits: int, top: int) -> None:
    ids = np.random.default_rng(4).integers(0, top + 1, (8, 8), dtype=np.uint8)
    rows = np.concatenate(
        [np.zeros((8, 1), np.uint8), np.packbits(np.unpackbits(ids[..., None], 2)[..., -bits:]).reshape(8, -1)], 1
    )
    (tmp_path / "m.png").write_bytes(png(8, 8, (b"IDAT", zlib.compress(rows.tobytes())), bits=bits))
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), ids)
    np.testing.assert_array_equal(read_image(tmp_path / "m.png")[..., 0], ids * np.uint8(255 // top))


@pytest.mark.parametrize(("suffix", "kind"), [("jpg", "JPEG"), ("webp", "WebP")])
@pytest.mark.parametrize("renamed", [False, True])
def test_masks_with_losses_are_refused(tmp_path: Path, suffix: str, kind: str, renamed: bool) -> None:
    path = tmp_path / f"m.{suffix}"
    Image.fromarray(IDS).save(path)
    if renamed:
        path = path.rename(tmp_path / "m.png")
    with pytest.raises(EnsError, match=rf"the mask .*m\.\w+ is a {kind} with lossy compression, .* anew as PNG"):
        read_mask(path)


def test_a_cut_out_is_no_mask(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([IDS * 0, IDS * 0, IDS * 0, IDS])).save(tmp_path / "m.png")
    with pytest.raises(EnsError, match=r"all colours of the mask .* are equal and only its transparency differs"):
        read_mask(tmp_path / "m.png")


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_several_pictures_in_one_file_are_refused(tmp_path: Path, suffix: str) -> None:
    pictures = [Image.fromarray(RGB), Image.fromarray(RGB[::-1].copy())]
    pictures[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=pictures[1:])
    with pytest.raises(EnsError, match=rf"a\.{suffix} holds 2 pictures; write one picture into each file"):
        read_image(tmp_path / f"a.{suffix}")


# ---------------------------------------------------------------- damage and forged sizes


def test_every_flipped_byte_of_a_png_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(IDS[:9, :9]).save(path)
    content, before = path.read_bytes(), read_image(path)
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1 :])
        with pytest.raises(EnsError, match="cannot be read as an image"):
            read_image(path)
    path.write_bytes(content + b"more")
    np.testing.assert_array_equal(read_image(path), before)


def test_a_size_that_the_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(9_000, 9_000))
    with pytest.raises(EnsError, match=r"a\.png claims 9000x9000 pixels, more than its \d+ bytes can hold"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (1 << 30, 1)])
def test_more_pixels_than_the_limit_are_refused(tmp_path: Path, width: int, height: int) -> None:
    (tmp_path / "a.png").write_bytes(png(width, height, (b"IDAT", bytes(100))))
    text = f"expected at most {MAX_PIXELS} pixels in an image, got {height}x{width} in .*a.png; cut it into pieces"
    for read in (read_image, read_mask, image_header):
        with pytest.raises(EnsError, match=text):
            read(tmp_path / "a.png")


def test_pillows_own_limit_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 10)
    Image.fromarray(GREY).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[..., 0], GREY)


def test_an_image_larger_than_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(np.zeros((900, 900), np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr("ensemble.core.reading.free_lately", lambda: 800_000)
    with pytest.raises(EnsError, match=r"the image .*a\.png of 900x900 needs 0\.00081 GB of memory, but 0\.0008 GB"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"%PDF", b"BM", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP"])
def test_what_is_no_image_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    for read in (read_image, read_mask, image_header):
        with pytest.raises(EnsError, match=r"a\.png cannot be read as an image \(.+\); write it again as PNG, JPEG"):
            read(tmp_path / "a.png")

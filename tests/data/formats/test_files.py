"""Folders of images: kinds of files, pairs, sizes, names, groups, and damaged files."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from ensemble.core.errors import EnsError
from ensemble.data import pixel_folder
from ensemble.data.formats import files as files_module
from ensemble.data.formats.files import FileSource
from ensemble.data.formats.image_files import image_files, image_header, read_image, read_mask, resize
from ensemble.data.open_source import open_source
from ensemble.data.pixel_cache import PixelCache
from ensemble.data.pixel_folder import PixelFolder

GREY = np.random.default_rng(0).integers(0, 256, (36, 40), dtype=np.uint8)
RGB = np.random.default_rng(1).integers(0, 256, (36, 40, 3), dtype=np.uint8)
IDS = np.random.default_rng(2).integers(0, 4, (36, 40), dtype=np.uint8)
PALETTE = [0, 0, 0, 200, 10, 10, 10, 200, 10, 10, 10, 200]


def open_folder(path: Path) -> FileSource:
    """Open a folder with images/ and masks/."""
    source = open_source(str(path))
    assert isinstance(source, FileSource)
    return source


def write_png(path: Path, array: NDArray[Any]) -> Path:
    """Write grey, RGB or RGBA, 8 or 16 bit, given in RGB order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bgr = array if array.ndim == 2 else array[..., [2, 1, 0, 3][: array.shape[2]]]
    assert cv2.imwrite(str(path), bgr)
    return path


def write_palette(path: Path, ids: NDArray[np.uint8]) -> Path:
    image = Image.fromarray(ids).convert("P")
    image.putdata(ids.ravel().tolist())
    image.putpalette(PALETTE)
    image.save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four pairs with the ids 0, 1 and 2."""
    for number in range(4):
        generator = np.random.default_rng(number)
        write_png(tmp_path / "images" / f"{number}.png", generator.integers(0, 256, (36, 40), dtype=np.uint8))
        write_png(tmp_path / "masks" / f"{number}.png", generator.integers(0, 3, (36, 40), dtype=np.uint8))
    return tmp_path


# ---------------------------------------------------------------- images


@pytest.mark.parametrize("array", [GREY, RGB], ids=["grey", "rgb"])
def test_eight_bit_png_is_read_as_it_is(tmp_path: Path, array: NDArray[np.uint8]) -> None:
    image = read_image(write_png(tmp_path / "a.png", array))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, array.reshape(36, 40, -1))


@pytest.mark.parametrize("array", [GREY, RGB], ids=["grey", "rgb"])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_keeps_all_its_bits(tmp_path: Path, array: NDArray[np.uint8], suffix: str) -> None:
    wide, path = array.astype(np.uint16) * 257, tmp_path / f"a.{suffix}"
    if suffix == "png":
        write_png(path, wide)
    else:
        tifffile.imwrite(path, wide)
    image = read_image(path)
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image, wide.reshape(36, 40, -1))


def test_alpha_is_dropped_and_palette_colours_are_looked_up(tmp_path: Path) -> None:
    rgba = np.dstack([RGB, GREY])
    np.testing.assert_array_equal(read_image(write_png(tmp_path / "a.png", rgba)), RGB)
    indexed = read_image(write_palette(tmp_path / "p.png", IDS))
    np.testing.assert_array_equal(indexed, np.array(PALETTE, np.uint8).reshape(4, 3)[IDS])


def test_jpeg_is_read_in_rgb_order(tmp_path: Path) -> None:
    red = np.zeros((36, 40, 3), np.uint8)
    red[..., 0] = 200
    Image.fromarray(red).save(tmp_path / "a.JPG", quality=95)
    np.testing.assert_allclose(read_image(tmp_path / "a.JPG").mean((0, 1)), [200, 0, 0], atol=4)


@pytest.mark.parametrize("first", [True, False], ids=["bands-first", "bands-last"])
@pytest.mark.parametrize("bands", [2, 5])
def test_tiff_holds_any_number_of_bands(tmp_path: Path, first: bool, bands: int) -> None:
    array = np.random.default_rng(3).integers(0, 256, (36, 40, bands), dtype=np.uint8)
    stored = np.moveaxis(array, -1, 0) if first else array
    tifffile.imwrite(
        tmp_path / "a.tif", stored, photometric="minisblack", planarconfig="separate" if first else "contig"
    )
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), array)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits"])
def test_compressed_tiff_is_read(tmp_path: Path, compression: str) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), RGB)
    Image.fromarray(IDS).save(tmp_path / "m.tiff", compression=compression)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.tiff"), IDS)


def test_a_stack_of_volumes_is_no_image(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 3, 36, 40), np.uint8), photometric="minisblack")
    with pytest.raises(EnsError, match=r"expected a grey image \(h, w\) or bands \(h, w, c\) in .*a\.tif, got .*\(2,"):
        read_image(tmp_path / "a.tif")


# ---------------------------------------------------------------- masks


def test_masks_of_every_kind_give_the_same_ids(tmp_path: Path) -> None:
    opaque = np.full_like(IDS, 255)
    paths = [
        write_png(tmp_path / "grey.png", IDS),
        write_png(tmp_path / "wide.png", IDS.astype(np.uint16)),
        write_png(tmp_path / "rgb.png", np.dstack([IDS] * 3)),
        write_png(tmp_path / "rgba.png", np.dstack([IDS, IDS, IDS, opaque])),
        write_palette(tmp_path / "palette.png", IDS),
        tmp_path / "mask.tif",
        tmp_path / "transparent.png",
    ]
    tifffile.imwrite(paths[5], IDS)
    Image.fromarray(np.dstack([IDS, opaque]), "LA").save(paths[6])
    for path in paths:
        mask = read_mask(path)
        assert mask.dtype == np.uint8, path.name
        np.testing.assert_array_equal(mask, IDS, err_msg=path.name)


def test_one_bit_mask_is_zero_and_one(tmp_path: Path) -> None:
    Image.fromarray(IDS > 1).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), IDS > 1)


def test_a_mask_in_colours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EnsError, match=r"one id per pixel \(indexed or grey\) in the mask .*m\.png, got colours"):
        read_mask(write_png(tmp_path / "m.png", RGB))


def test_a_wide_mask_with_large_values_names_them(tmp_path: Path) -> None:
    with pytest.raises(EnsError, match=r"whole numbers 0\.\.255 in .*m\.png, got values such as 700"):
        read_mask(write_png(tmp_path / "m.png", np.array([[0, 700]], np.uint16)))


# ---------------------------------------------------------------- damaged files


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.97])
def test_a_file_that_was_cut_short_is_named(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(GREY).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    for read in (read_image, read_mask):
        with pytest.raises(
            EnsError, match=rf"a\.{suffix} cannot be read as an image.*write it again as PNG, JPEG or TIFF"
        ):
            read(path)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_flipped_byte_never_raises_anything_else(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(IDS[:12, :12]).save(path)
    content = path.read_bytes()
    for position in range(25, len(content), 3):  # the first ones hold the size: gigabytes, slow to refuse
        path.write_bytes(content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :])
        for read in (read_image, read_mask):
            with contextlib.suppress(EnsError):
                read(path)


def test_a_damaged_file_stops_the_opening_of_its_folder(root: Path) -> None:
    (root / "images" / "2.png").write_bytes(b"no image")
    with pytest.raises(EnsError, match=r"2\.png cannot be read as an image"):
        open_folder(root)


# ---------------------------------------------------------------- pairs


def test_pairs_are_read_in_the_order_of_their_names(root: Path) -> None:
    source = open_folder(root)
    assert source.ids == ("0", "1", "2", "3")
    assert source.test_ids == ()
    assert source.groups is None
    assert source.names is None
    assert source.default_background == "class"
    assert source.images([3, 1]).shape == (2, 36, 40, 1)
    np.testing.assert_array_equal(source.images([3, 1])[1, ..., 0], read_image(root / "images" / "1.png")[..., 0])
    np.testing.assert_array_equal(source.masks([2])[0], read_mask(root / "masks" / "2.png"))


def test_test_images_are_found(root: Path) -> None:
    write_png(root / "test" / "z.png", GREY)
    (root / "test" / "notes.txt").write_text("not an image")
    (root / "test" / ".hidden.png").write_text("neither")
    source = open_folder(root)
    assert source.test_ids == ("z",)
    np.testing.assert_array_equal(source.test_images([0]), GREY[None, ..., None])


def test_an_empty_folder_says_what_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(EnsError, match=r"expected images in .*images \(\.png, .*\) and masks of the same names"):
        open_folder(tmp_path)


def test_an_image_without_a_mask_is_named(root: Path) -> None:
    (root / "masks" / "1.png").unlink()
    with pytest.raises(EnsError, match=r"1 of 4 files in .* have no mask, the first is 1; add the mask or move"):
        open_folder(root)


def test_a_mask_without_an_image_is_named(root: Path) -> None:
    (root / "images" / "3.png").unlink()
    with pytest.raises(EnsError, match=r"1 of 4 files in .* have no image, the first is 3"):
        open_folder(root)


def test_two_files_of_one_name_are_refused(root: Path) -> None:
    Image.fromarray(GREY).save(root / "images" / "0.jpg")
    with pytest.raises(EnsError, match=r"0\.jpg and 0\.png in .*images have the same name; rename one"):
        image_files(root / "images")


def test_a_name_with_dots_is_one_name(tmp_path: Path) -> None:
    write_png(tmp_path / "tile_0.25.png", GREY)
    assert list(image_files(tmp_path)) == ["tile_0.25"]


def test_image_and_mask_of_different_sizes_are_refused(root: Path) -> None:
    write_png(root / "masks" / "1.png", IDS[:30])
    with pytest.raises(EnsError, match="the image 1 is 36x40 but its mask is 30x40; expected equal sizes"):
        open_folder(root)


def test_images_of_different_sizes_keep_them(root: Path) -> None:
    write_png(root / "images" / "2.png", GREY[:32])
    write_png(root / "masks" / "2.png", IDS[:32])
    source = open_folder(root)
    assert source.sizes == ((36, 40), (36, 40), (32, 40), (36, 40))
    np.testing.assert_array_equal(source.image(2)[..., 0], GREY[:32])
    np.testing.assert_array_equal(source.mask(2), IDS[:32])
    assert source.images([0, 1, 3]).shape == (3, 36, 40, 1)


def test_test_images_may_have_other_sizes_but_no_other_bands(root: Path) -> None:
    write_png(root / "test" / "fits.png", GREY)
    write_png(root / "test" / "small.png", GREY[:32])
    write_png(root / "test" / "colour.png", RGB)
    source = open_folder(root)
    assert source.test_ids == ("fits", "small")
    assert source.test_sizes == ((36, 40), (32, 40))
    assert "test images without 1 band(s), left to `ens predict`: 1 file (test/colour.png)" in source.notes


def test_sizes_of_tiffs_are_those_of_their_pixels(tmp_path: Path) -> None:
    bands, plain = np.zeros((5, 36, 40), np.uint8), dict[str, Any](photometric="minisblack")
    tifffile.imwrite(tmp_path / "a.tif", bands, **plain)
    tifffile.imwrite(tmp_path / "b.tif", np.moveaxis(bands, 0, -1), planarconfig="contig", **plain)
    tifffile.imwrite(tmp_path / "c.tif", bands[0], **plain)
    headers = [image_header(tmp_path / f"{name}.tif") for name in "abc"]
    assert [(each.height, each.width, each.bands) for each in headers] == [(36, 40, 5), (36, 40, 5), (36, 40, 1)]


def test_images_of_different_bands_are_refused(root: Path) -> None:
    write_png(root / "images" / "2.png", RGB)
    message = r"equal bands, got 1 band\(s\) in 3 of 4 images but 3 band\(s\) in 1, the first is images/2\.png"
    with pytest.raises(EnsError, match=message):
        open_folder(root)


def test_sixteen_bit_images_become_floats_up_to_one(root: Path) -> None:
    for row in range(4):
        write_png(root / "images" / f"{row}.png", np.full((36, 40), 51 * 257 * (row + 1), np.uint16))
    source = open_folder(root)
    images = source.images(range(4))
    assert source.span == (0, 65535)
    assert images.dtype == np.float32
    np.testing.assert_allclose(images[:, 0, 0, 0].astype(np.float64), [0.2, 0.4, 0.6, 0.8], atol=1e-6)


def test_images_of_eight_and_sixteen_bits_are_not_mixed(root: Path) -> None:
    write_png(root / "images" / "2.png", np.full((36, 40), 51 * 257, np.uint16))
    message = r"pixels of one type, got uint8 in 3 of 4 images but uint16 in 1, the first is images/2\.png; convert"
    with pytest.raises(EnsError, match=message):
        open_folder(root)


def test_float_images_share_one_scale(root: Path) -> None:
    for row in range(4):
        (root / "images" / f"{row}.png").unlink()
        tifffile.imwrite(root / "images" / f"{row}.tif", np.full((36, 40), 100.0 * row, np.float32))
    source = open_folder(root)
    assert source.span == (0, 300)
    np.testing.assert_allclose(source.images(range(4))[:, 0, 0, 0].astype(np.float64), [0, 1 / 3, 2 / 3, 1], atol=1e-6)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The images that are decoded; the user's cache folder is empty."""
    decoded: list[Path] = []

    def counting(path: Path, no_data: float | None) -> NDArray[np.generic]:
        decoded.append(path)
        return read_image(path, no_data)

    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: cache)
    monkeypatch.setattr(files_module, "read_image", counting)
    return decoded


def test_an_image_is_decoded_once_in_memory_or_on_disk(
    root: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PixelCache, "room", lambda _: 2 * 36 * 40)
    source = open_folder(root)
    first, again = source.images(range(4)), source.images(range(4))
    np.testing.assert_array_equal(first, again)
    assert len(reads) == 4
    np.testing.assert_array_equal(open_folder(root).images(range(4)), first)
    assert len(reads) == 4 + 2  # two of them are on disk
    monkeypatch.setattr(PixelFolder, "room", lambda _: 0)
    monkeypatch.setattr(pixel_folder, "read_pixels", lambda *_: None)
    monkeypatch.setattr(pixel_folder, "write_pixels", lambda *_: None)
    source = open_folder(root)
    np.testing.assert_array_equal([source.images(range(4)) for _ in range(2)], [first, first])
    assert len(reads) == 6 + 4 + 2  # two of them are decoded again
    assert source.notes[-1].startswith("decoded images and masks take 1.15e-05 GB, more than 25 % of the free memory")


@pytest.mark.parametrize("room", [0, 1 << 30], ids=["disk", "memory"])
def test_a_window_is_a_part_of_the_image_and_of_its_mask(
    root: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    monkeypatch.setattr(PixelCache, "room", lambda _: room)
    source = open_folder(root)
    for row in range(4):
        image, mask = read_image(root / "images" / f"{row}.png"), read_mask(root / "masks" / f"{row}.png")
        for rows, columns in [((0, 36), (0, 40)), ((3, 30), (39, 40)), ((35, 36), (0, 7))]:
            np.testing.assert_array_equal(source.window(row, rows, columns), image[slice(*rows), slice(*columns)])
            np.testing.assert_array_equal(source.mask_window(row, rows, columns), mask[slice(*rows), slice(*columns)])
    assert len(reads) == 4


def test_test_images_are_not_kept_on_disk(root: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    write_png(root / "test" / "0.png", GREY)
    monkeypatch.setattr(PixelCache, "room", lambda _: 0)
    source = open_folder(root)
    source.image(0)
    for _ in range(2):
        np.testing.assert_array_equal(source.test_images([0])[0, ..., 0], GREY)
    assert len(reads) == 1 + 2


def test_pixels_on_disk_belong_to_the_data_and_to_how_they_are_read(
    root: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PixelCache, "room", lambda _: 0)
    open_folder(root).images(range(4))
    assert len(reads) == 4
    write_png(root / "images" / "0.png", 255 - GREY)
    np.testing.assert_array_equal(open_folder(root).image(0)[..., 0], 255 - GREY)
    assert len(reads) == 5
    (root / "data.toml").write_text('bands = [1, 1]\n[train]\nimages = "images/{id}.png"\nmasks = "masks/{id}.png"\n')
    source = open_source(str(root / "data.toml"))
    np.testing.assert_array_equal(source.image(0), 255 - np.dstack([GREY, GREY]))
    assert len(reads) == 6


def test_resize_keeps_ids_and_bands() -> None:
    larger = resize(IDS, (50, 70), cv2.INTER_NEAREST)
    assert larger.shape == (50, 70)
    assert set(np.unique(larger)) == {0, 1, 2, 3}
    bands = np.dstack([GREY] * 6)
    smaller = resize(bands, (18, 20), cv2.INTER_AREA)
    assert smaller.shape == (18, 20, 6)
    np.testing.assert_allclose(smaller[..., 0].astype(np.float64), GREY.reshape(18, 2, 20, 2).mean((1, 3)), atol=0.51)
    assert resize(IDS, (36, 40), cv2.INTER_NEAREST) is IDS
    assert resize(bands[..., :1], (18, 20), cv2.INTER_AREA).shape == (18, 20, 1)


# ---------------------------------------------------------------- names and groups


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte-order-mark"])
def test_class_names_are_lines(root: Path, mark: str) -> None:
    (root / "classes.txt").write_text(mark + "sky\n big rock \n\nsea\n", encoding="utf-8")
    assert open_folder(root).names == {0: "sky", 1: "big rock", 2: "sea"}


@pytest.mark.parametrize("text", ["sky\nsky\n", "\n"])
def test_class_names_must_differ(root: Path, text: str) -> None:
    (root / "classes.txt").write_text(text)
    with pytest.raises(
        EnsError, match=r"one different class name per line in .*classes\.txt, but (there is|'sky' occ)"
    ):
        open_folder(root)


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte-order-mark"])
@pytest.mark.parametrize("suffix", ["", ".png"])
def test_groups_are_found_by_name_with_or_without_ending(root: Path, mark: str, suffix: str) -> None:
    for part in ("images", "masks"):
        (root / part / "3.png").rename(root / part / "tile_0.25.png")
    rows = "".join(f"g{number % 2},{name}{suffix}\n" for number, name in enumerate(["tile_0.25", "0", "1", "2", "9"]))
    (root / "groups.csv").write_text(f"{mark}group,id\n{rows}", encoding="utf-8")
    assert open_folder(root).groups == ("g1", "g0", "g1", "g0")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,group\n0,a\n", r"the columns id and group in .*groups\.csv, got \['name', 'group'\]"),
        ("id,group\n", "got no rows"),
        ("id,group\n0,a\n1,a\n3,b\n", r"groups\.csv has no group for the image 2; add a row for it"),
        ("id,group\n0,a\n1,a\n2,\n3,b\n", "has an empty group for the image 2"),
        ("id,group\n0,a\n1\n2,a\n3,b\n", "has an empty group for the image 1"),
    ],
)
def test_incomplete_groups_are_refused(root: Path, text: str, message: str) -> None:
    (root / "groups.csv").write_text(text)
    with pytest.raises(EnsError, match=message):
        open_folder(root)


# ---------------------------------------------------------------- fingerprints


def test_fingerprint_is_of_the_content_not_of_the_place(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other") / "copy"
    shutil.copytree(root, other)
    assert open_folder(root).fingerprint == open_folder(other).fingerprint


def test_fingerprint_changes_with_each_part(root: Path) -> None:
    seen = [open_folder(root).fingerprint]

    def note() -> None:
        seen.append(open_folder(root).fingerprint)

    write_png(root / "images" / "0.png", GREY.T[::-1].T)
    note()
    write_png(root / "masks" / "0.png", IDS)
    note()
    write_png(root / "test" / "0.png", GREY)
    note()
    (root / "classes.txt").write_text("a\nb\nc\nd\n")
    note()
    (root / "groups.csv").write_text("id,group\n0,a\n1,b\n2,c\n3,c\n")
    note()
    for part in ("images", "masks"):
        (root / part / "3.png").rename(root / part / "4.png")
    (root / "groups.csv").write_text("id,group\n0,a\n1,b\n2,c\n4,c\n")
    note()
    assert len(set(seen)) == 7


def test_a_test_image_with_the_name_of_a_labelled_one_is_itself(root: Path) -> None:
    write_png(root / "test" / "0.png", 255 - GREY)
    source = open_folder(root)
    assert np.array_equal(source.images([0])[0, ..., 0], GREY)
    assert np.array_equal(source.test_images([0])[0, ..., 0], 255 - GREY)


def test_members_of_earlier_versions_still_belong_to_their_folder(tmp_path: Path) -> None:
    """The digest of the oldest layout stays; it is part of the names of members."""
    for number in range(3):
        array = np.arange(number, number + 24, dtype=np.uint8).reshape(4, 6)
        for part, content in (("images", array * 10), ("masks", array % 3), ("test", array)):
            (tmp_path / part).mkdir(exist_ok=True)
            Image.fromarray(content).save(
                tmp_path / part / f"{number}.bmp"
            )  # no compression: the same bytes everywhere
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    (tmp_path / "groups.csv").write_text("id,group\n0,x\n1,x\n2,y\n")
    assert open_folder(tmp_path).fingerprint == "941fd74a3859505b4597e595b9060dae"

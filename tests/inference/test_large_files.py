"""Large images go from disk to disk: the file of the ordinary way, resumed to the same bytes, in bounded memory."""

from __future__ import annotations

import shutil
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from affine import Affine
from numpy.typing import NDArray
from PIL import Image

from ensemble.combining.combine import combine
from ensemble.combining.small_objects import without_small_objects
from ensemble.core.errors import EnsError
from ensemble.core.files import write_bytes
from ensemble.data.formats import image_files
from ensemble.inference import batching, image_rows, large_files, pooled_networks
from ensemble.inference.image_sources import ImageFiles
from ensemble.inference.load import load
from ensemble.inference.member_network import MemberNetwork
from ensemble.inference.tiles import Tiling
from ensemble.inference.write_masks import predict, predict_to
from ensemble.runs.member import Member

NOISE = np.random.default_rng(11)
SIZE = (420, 290)
TILING = Tiling(128, 16)
CRS, PLACE = "EPSG:32632", Affine(10, 0, 500_000, 0, -10, 5_200_000)
GREY = NOISE.integers(0, 256, SIZE, dtype=np.uint8)
COLOURS = NOISE.integers(0, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model(tiny_runs: Path) -> Path:
    return sorted((tiny_runs / "members").iterdir())[0]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make tiles and strips of small images, which are large from 50,000 pixels on."""
    monkeypatch.setattr(pooled_networks, "tiling_for", lambda *_: TILING)
    monkeypatch.setattr(batching, "WHOLE_PIXELS", 50_000)
    monkeypatch.setattr(image_rows, "BLOCK", 50)


def as_large(monkeypatch: pytest.MonkeyPatch, *, large: bool = True) -> None:
    monkeypatch.setattr(large_files, "LARGE_PIXELS", 50_000 if large else 1 << 25)


def both_ways(model: Path, image: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Predict an image in the ordinary way and from disk to disk; return the files."""
    outs = []
    for large in (False, True):
        as_large(monkeypatch, large=large)
        outs.append(image.parent / f"{'large' if large else 'ordinary'}-{name}")
        predict(model, image, outs[-1], device="cpu")
    return outs[0], outs[1]


@pytest.mark.parametrize("name", ["mask.tif", "mask.png"])
@pytest.mark.parametrize("kind", ["tiles", "one piece", "colours", "png"])
def test_the_file_is_that_of_the_ordinary_way(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    image = tmp_path / f"image.{'png' if kind == 'png' else 'tif'}"
    if kind == "png":
        Image.fromarray(GREY).save(image)
    elif kind == "colours":  # grey is made of them
        tifffile.imwrite(image, COLOURS, photometric="rgb", compression="zlib", rowsperstrip=20)
    else:
        options: dict[str, Any] = {"tile": (64, 48), "compression": "zlib"} if kind == "tiles" else {}
        tifffile.imwrite(image, GREY, **options)
    ordinary, large = both_ways(model, image, name, monkeypatch)
    assert large.read_bytes() == ordinary.read_bytes()
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    if kind in ("tiles", "one piece", "colours"):
        read: list[Path] = []
        monkeypatch.setattr(image_files.tiff, "_decoded", lambda path, *_: read.append(path))
        large.unlink()
        predict(model, image, large, device="cpu")
        assert large.read_bytes() == ordinary.read_bytes()
        assert not read  # never as a whole


def test_small_objects_are_those_of_the_whole_image(
    tiny_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects and the rows from which they are removed go across strips."""
    runs = Path(shutil.copytree(tiny_runs, tmp_path / "runs"))
    done, plain = (combine(method="average", smallest_object=size, folds=2, runs=runs) for size in (40, None))
    monkeypatch.setattr(large_files, "ROWS", 50)
    tifffile.imwrite(image := tmp_path / "image.tif", GREY)
    ordinary, large = both_ways(done.ensemble.path, image, "mask.tif", monkeypatch)
    assert large.read_bytes() == ordinary.read_bytes()
    images = ImageFiles(["image"], [image])
    with pytest.raises(EnsError, match=r"uncertain pixels are left open if small objects are removed.*420x290 in .*im"):
        predict_to(replace(load(done.ensemble.path), least=0.5), images, tmp_path / "open.tif")
    _, noisy = both_ways(plain.ensemble.path, image, "noisy.tif", monkeypatch)
    values = np.array(load(done.ensemble.path).values)
    before, after = (np.searchsorted(values, tifffile.imread(file)) for file in (noisy, large))
    assert (before != after).any()
    np.testing.assert_array_equal(after[None], without_small_objects(before[None], np.full(len(values), 40)))


@pytest.fixture(scope="module")
def two_bands(train_tiny: Callable[..., Member], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A member of images with two bands of fractions."""
    root = tmp_path_factory.mktemp("two")
    for name in ("images", "masks"):
        (root / name).mkdir()
    for row in range(4):
        mask = np.kron(NOISE.integers(0, 2, (4, 4)), np.ones((8, 8))).astype(np.uint8)
        pixels = (mask * 0.4 + NOISE.random((2, 32, 32)) / 2).astype(np.float32)
        tifffile.imwrite(root / "images" / f"{row}.tif", pixels, planarconfig="separate", photometric="minisblack")
        Image.fromarray(mask).save(root / "masks" / f"{row}.png")
    return train_tiny(root / "runs", data=root, epochs=1, val_fraction=0.5).path


def test_a_geotiff_with_pixels_without_data(two_bands: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = tmp_path / "image.tif"
    bands = NOISE.random((2, *SIZE), dtype=np.float32)
    bands[:, :90], bands[:, 300:310, 50:] = -9999, -9999
    shape: dict[str, Any] = {"count": 2, "height": SIZE[0], "width": SIZE[1], "dtype": "float32", "nodata": -9999}
    with rasterio.open(image, "w", driver="GTiff", crs=CRS, transform=PLACE, compress="lzw", **shape) as file:
        file.write(bands)
    ordinary, large = both_ways(two_bands, image, "mask.tif", monkeypatch)
    assert large.read_bytes() == ordinary.read_bytes()
    with rasterio.open(large) as mask:
        assert (mask.crs, mask.transform, mask.shape) == (CRS, PLACE, SIZE)


@pytest.mark.parametrize("strips", [0, 1, 3, 5])
def test_a_command_that_failed_in_the_middle_goes_on(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strips: int
) -> None:
    image, out = tmp_path / "image.tif", tmp_path / "out.tif"
    tifffile.imwrite(image, GREY, rowsperstrip=16, compression="zlib")
    expected, _ = both_ways(model, image, "mask.tif", monkeypatch)
    tasks: list[tuple[str, int, int]] = []

    def stop(file: Path, content: bytes) -> None:
        if file.name == f"{strips:05d}.npy":
            raise KeyboardInterrupt
        write_bytes(file, content)

    monkeypatch.setattr(large_files, "write_bytes", stop)
    with pytest.raises(KeyboardInterrupt):
        predict(model, image, out, device="cpu")
    assert not out.exists()
    assert len(list(tmp_path.glob(".out.tif.*.unfinished/*.npy"))) == strips
    monkeypatch.setattr(large_files, "write_bytes", write_bytes)
    predict(model, image, out, device="cpu", progress=lambda *given: tasks.append(given[:3]))
    assert out.read_bytes() == expected.read_bytes()
    assert not list(tmp_path.glob(".out*"))
    down, across = (len(TILING.spans(length)) for length in SIZE)
    total, begun = (
        down * across,
        max(0, strips - 1) * across,
    )  # the tiles of the last finished strip are needed again
    assert [done for task, done, _ in tasks if task == "predicting tiles"] == list(range(begun + 1, total + 1))
    assert {of for task, _, of in tasks if task == "predicting tiles"} == {total}


def test_strips_of_another_image_are_removed(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, out = tmp_path / "image.tif", tmp_path / "out.tif"
    tifffile.imwrite(image, GREY[::-1])
    expected, _ = both_ways(model, image, "mask.tif", monkeypatch)
    tifffile.imwrite(image, GREY)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(large_files, "write_mask", stop)
        with pytest.raises(KeyboardInterrupt):
            predict(model, image, out, device="cpu")
    tifffile.imwrite(image, GREY[::-1])
    predict(model, image, out, device="cpu")
    assert out.read_bytes() == expected.read_bytes()
    assert not list(tmp_path.glob(".out*"))


def test_damaged_strips_are_one_sentence(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_large(monkeypatch)
    image, out = tmp_path / "image.tif", tmp_path / "out.tif"
    tifffile.imwrite(image, GREY)
    monkeypatch.setattr(large_files, "write_bytes", lambda file, content: write_bytes(file, content[:-9]))
    with pytest.raises(EnsError, match=r"unfinished cannot be read as the strips of a mask .*; delete this folder and"):
        predict(model, image, out, device="cpu")
    assert not out.exists()


@pytest.mark.parametrize("options", [{}, {"compression": "zlib", "rowsperstrip": 16}])
def test_a_file_cut_short_is_one_sentence(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    as_large(monkeypatch)
    image = tmp_path / "image.tif"
    tifffile.imwrite(image, GREY, **options)
    image.write_bytes(image.read_bytes()[:-500])
    with pytest.raises(EnsError, match=r"image\.tif cannot be read as an image \(.*\); write it again"):
        predict(model, image, tmp_path / "out.tif", device="cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["image.tif"]


def test_probabilities_of_a_large_image_are_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_large(monkeypatch)
    tifffile.imwrite(tmp_path / "image.tif", GREY)
    text = (
        "expected at most 50,000 pixels in an image of which more than the mask is written, got 420x290 in"
        r" .*image\.tif; leave out probabilities, uncertainty, class sets and quality, or cut the image into pieces"
    )
    with pytest.raises(EnsError, match=text):
        predict(model, tmp_path / "image.tif", tmp_path / "out.tif", probabilities=True, device="cpu")


def test_a_large_image_among_small_ones(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_large(monkeypatch)
    (tmp_path / "in").mkdir()
    for name, image in (("a", GREY[:40]), ("b", GREY), ("c", GREY[:60, :60])):
        tifffile.imwrite(tmp_path / "in" / f"{name}.tif", image)
    assert predict(model, tmp_path / "in", tmp_path / "out", device="cpu") == 3
    as_large(monkeypatch, large=False)
    predict(model, tmp_path / "in", tmp_path / "ordinary", device="cpu")
    for name in "abc":
        assert (tmp_path / "out" / f"{name}.png").read_bytes() == (tmp_path / "ordinary" / f"{name}.png").read_bytes()
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_memory_does_not_grow_with_the_height(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_large(monkeypatch)
    monkeypatch.setattr(pooled_networks, "tiling_for", lambda *_: Tiling(128, 0))
    predictor = load(model)

    def constant(_: MemberNetwork, tiles_nhwc: NDArray[np.generic], *, tiles: bool) -> NDArray[np.float32]:
        assert tiles
        return np.full((len(tiles_nhwc), 3, *tiles_nhwc.shape[1:3]), 1 / 3, np.float32)

    monkeypatch.setattr(MemberNetwork, "of", constant)
    monkeypatch.setattr(MemberNetwork, "reach", 0)
    monkeypatch.setattr(large_files, "write_mask", lambda *_: None)
    monkeypatch.setattr(large_files, "_joined", lambda *_: None)
    peaks = list[int]()
    for height in (1_000, 1_000, 4_000):  # the first one imports and fills caches
        image = tmp_path / f"{height}.tif"
        tifffile.imwrite(image, NOISE.integers(0, 256, (height, 800), dtype=np.uint8))
        tracemalloc.start()
        predict_to(replace(predictor), ImageFiles(["x"], [image]), tmp_path / f"out-{height}.tif")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.1 * peaks[1]

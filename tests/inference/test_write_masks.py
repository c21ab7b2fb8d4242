"""Files of predictions: one image, GeoTIFF, probabilities, run lengths, other bands, interrupted commands."""

from __future__ import annotations

import csv
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from affine import Affine
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from ensemble.core.errors import EnsError
from ensemble.core.palette import class_colours
from ensemble.data.formats.image_files import read_image, read_mask
from ensemble.inference import georeference, write_predictions
from ensemble.inference.bands import with_bands
from ensemble.inference.load import load
from ensemble.inference.predictor import Predictor
from ensemble.inference.run_lengths import decode
from ensemble.inference.write_masks import predict
from ensemble.runs.member import Member

NOISE = np.random.default_rng(0)
CRS, PLACE = "EPSG:32632", Affine(10, 0, 500_000, 0, -10, 5_200_000)


@pytest.fixture(scope="module")
def model(tiny_runs: Path) -> Path:
    return sorted((tiny_runs / "members").iterdir())[0]


@pytest.fixture(scope="module")
def predictor(model: Path) -> Predictor:
    return load(model)


@pytest.fixture(scope="module")
def six_bands(train_tiny: Callable[..., Member], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A member of images with six bands, and a folder with two GeoTIFFs of such images."""
    root = tmp_path_factory.mktemp("six")
    for name in ("images", "masks", "new"):
        (root / name).mkdir()
    for row in range(6):
        mask = np.kron(NOISE.integers(0, 2, (4, 4)), np.ones((8, 8))).astype(np.uint8)
        pixels = (mask * np.uint16(2000) + NOISE.integers(500, 900, (6, 32, 32))).astype(np.uint16)
        tifffile.imwrite(root / "images" / f"{row}.tif", pixels, planarconfig="separate", photometric="minisblack")
        Image.fromarray(mask).save(root / "masks" / f"{row}.png")
    for name in ("a", "b"):
        geotiff(root / "new" / f"{name}.tif", NOISE.integers(500, 2900, (6, 40, 48)).astype(np.uint16))
    return train_tiny(root / "runs", data=root, epochs=1, val_fraction=0.5).path, root / "new"


def geotiff(path: Path, bands: Any) -> None:
    shape: dict[str, Any] = {"count": bands.shape[0], "height": bands.shape[1], "width": bands.shape[2]}
    with rasterio.open(path, "w", driver="GTiff", dtype=bands.dtype.name, crs=CRS, transform=PLACE, **shape) as file:
        file.write(bands)


def picture(path: Path, *shape: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(NOISE.integers(0, 256, shape, dtype=np.uint8)).save(path)
    return path


def content(folder: Path) -> dict[str, bytes]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("name", ["mask.png", "mask.tif", "new/mask.TIFF"])
def test_one_image_becomes_one_file(predictor: Predictor, model: Path, tmp_path: Path, name: str) -> None:
    image = picture(tmp_path / "image.png", 36, 40)
    for _ in range(2):  # the file is ours, so it is replaced
        assert predict(model, image, tmp_path / name, device="cpu") == 1
    expected = predictor.masks(predictor(read_image(image)[None]))[0]
    np.testing.assert_array_equal(read_mask(tmp_path / name), expected)
    with Image.open(tmp_path / name) as shown:
        np.testing.assert_array_equal(np.asarray(shown.convert("RGB")), class_colours((1, 2, 3))[expected])
    picture(tmp_path / name.replace("mask", "mine").replace("TIFF", "tif"), 3, 3)
    with pytest.raises(EnsError, match=r"expected a new file for the output, but .*mine.* exists; only a png, tif or"):
        predict(model, image, tmp_path / name.replace("mask", "mine").replace("TIFF", "tif"), device="cpu")


def test_geotiffs_keep_their_place(six_bands: tuple[Path, Path], tmp_path: Path) -> None:
    model, images = six_bands
    predictor = load(model)
    for _ in range(2):
        assert predict(model, images, tmp_path / "out", probabilities=True, device="cpu") == 2
    assert sorted(content(tmp_path / "out")) == ["a.probabilities.tif", "a.tif", "b.probabilities.tif", "b.tif"]
    probs = predictor(read_image(images / "b.tif"))
    with rasterio.open(tmp_path / "out" / "b.tif") as mask:
        assert (mask.crs, mask.transform, mask.dtypes, mask.shape) == (CRS, PLACE, ("uint8",), (40, 48))
        np.testing.assert_array_equal(mask.read(1), predictor.masks(probs[None])[0])
    with rasterio.open(tmp_path / "out" / "b.probabilities.tif") as found:
        assert (found.crs, found.transform, found.dtypes) == (CRS, PLACE, ("uint16", "uint16"))
        assert found.descriptions == predictor.classes
        np.testing.assert_allclose(found.read() / 65535, probs, atol=1e-5)
    assert predict(model, images / "a.tif", tmp_path / "one.tif", device="cpu") == 1
    assert (tmp_path / "one.tif").read_bytes() == (tmp_path / "out" / "a.tif").read_bytes()


def test_a_geotiff_that_is_turned_is_refused(six_bands: tuple[Path, Path], tmp_path: Path) -> None:
    model, images = six_bands
    keys = ((34735, "H", 4, (1, 1, 0, 0), True), (33922, "d", 6, (0.0,) * 6, True), (274, "H", 1, 3, True))
    pixels = tifffile.imread(images / "a.tif")
    tifffile.imwrite(tmp_path / "a.tif", pixels, planarconfig="contig", photometric="minisblack", extratags=keys)
    with pytest.raises(EnsError, match=r"a\.tif is turned by its orientation tag, which its georeference does not"):
        predict(model, tmp_path / "a.tif", tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["out", "out.png", "out.npz"])
def test_a_place_that_is_lost_is_named(
    six_bands: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    model, images = six_bands
    notes = list[str]()
    if out == "out":
        monkeypatch.setattr(georeference, "rasterio", lambda: None)
    predict(model, images / "a.tif", tmp_path / out, device="cpu", on_note=notes.append)
    expected = {
        "out": "the georeference of 1 GeoTIFF is not carried over, because rasterio is not installed; install it with"
        " pip install 'ens-toolkit[geo]' and predict again",
        "out.png": "a png cannot hold the georeference of 1 GeoTIFF; write a folder, or FILE.tif",
        "out.npz": "an npz cannot hold the georeference of 1 GeoTIFF; write a folder, or FILE.tif",
    }
    assert notes == [expected[out]]


def test_probabilities_are_written_next_to_the_masks(predictor: Predictor, model: Path, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png", 36, 40)
    predict(model, tmp_path / "in", tmp_path / "out", probabilities=True, device="cpu")
    found = tifffile.imread(tmp_path / "out" / "a.probabilities.tif")
    assert (found.shape, found.dtype) == ((3, 36, 40), np.uint16)
    expected = predictor(read_image(tmp_path / "in" / "a.png"))
    np.testing.assert_allclose(found / 65535, expected, atol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        same = rasterio.open(tmp_path / "out" / "a.probabilities.tif")
    with same:
        np.testing.assert_array_equal(same.read(), found)


def test_other_bands_are_converted_or_refused_by_name(predictor: Predictor, model: Path, tmp_path: Path) -> None:
    images, notes = tmp_path / "in", list[str]()
    picture(images / "a.png", 36, 40)
    colours = read_image(picture(images / "c_rgb.png", 36, 40, 3))
    picture(images / "d_rgba.png", 36, 40, 4)
    assert predict(model, images, tmp_path / "out", device="cpu", on_note=notes.append) == 3
    assert notes == [
        "this model knows grey images, but got 2 colour images (c_rgb, d_rgba): grey is made of their colours"
        " (0.299 R + 0.587 G + 0.114 B)"
    ]
    grey = np.asarray(Image.open(images / "c_rgb.png").convert("L")).astype(int)
    mine = with_bands(colours, 1)
    assert np.abs(mine[..., 0].astype(int) - grey).max() <= 1  # Pillow rounds the three shares
    np.testing.assert_array_equal(read_mask(tmp_path / "out" / "c_rgb.png"), predictor.masks(predictor(mine)[None])[0])
    tifffile.imwrite(images / "b_many.tif", np.zeros((5, 36, 40), np.uint8), planarconfig="separate")
    with pytest.raises(EnsError, match=r"expected 1 band \(or 3 colours, .*for unet.*, got 5 in .*b_many\.tif; conv"):
        predict(model, images, tmp_path / "other", device="cpu")
    assert not (tmp_path / "other").exists()


def test_grey_images_for_a_model_of_colours(
    train_tiny: Callable[..., Member], tiny_arrays: dict[str, Any], tmp_path: Path
) -> None:
    for row in range(8):
        for kind, pixels in zip(("images", "masks"), tiny_arrays["training_set"][row], strict=True):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(np.stack([pixels] * 3, -1) if kind == "images" else pixels).save(
                tmp_path / kind / f"{row}.png"
            )
    member, notes = train_tiny(tmp_path / "runs", data=tmp_path, epochs=1), list[str]()
    image = picture(tmp_path / "new" / "grey.png", 36, 40)
    predict(member.path, image, tmp_path / "mask.png", device="cpu", on_note=notes.append)
    expected = load(member.path)
    probs = expected(np.repeat(read_image(image), 3, axis=2))
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), expected.masks(probs[None])[0])
    assert notes == [
        "this model knows colour images, but got 1 grey image (grey): their grey is used for red, green and blue"
    ]


def test_the_outcome_names_the_folder_in_place_of_an_npz(model: Path, tmp_path: Path) -> None:
    (tmp_path / "p.npz").write_bytes(b"older")
    for name, size in {"a": (36, 40), "b": (32, 32)}.items():
        picture(tmp_path / "in" / f"{name}.png", *size)
    outcome = dict[str, Any]()
    predict(model, tmp_path / "in", tmp_path / "p.npz", device="cpu", on_outcome=outcome.update)
    assert outcome == {"out": str(tmp_path / "p")}
    assert sorted(file.name for file in (tmp_path / "p").iterdir()) == ["a.npz", "b.npz"]


def test_run_lengths_decode_to_the_masks(predictor: Predictor, model: Path, tmp_path: Path) -> None:
    sizes = {"a": (36, 40), "b": (32, 32)}
    for name, size in sizes.items():
        picture(tmp_path / "in" / f"{name}.png", *size)
    predict(model, tmp_path / "in", tmp_path / "out", device="cpu")
    predict(model, tmp_path / "in", tmp_path / "class.csv", form="rle", device="cpu")
    predict(model, tmp_path / "in", tmp_path / "object.csv", form="rle", instances=True, device="cpu")
    for name in ("class", "object"):
        with (tmp_path / f"{name}.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        if name == "class":
            assert [(row["id"], row["class"]) for row in rows] == [(i, c) for i in "ab" for c in "123"]
        found = {image: np.zeros(size, np.uint8) for image, size in sizes.items()}
        for row in rows:
            found[row["id"]][decode(row["rle"], sizes[row["id"]])] = int(row["class"])
        for image, mask in found.items():
            np.testing.assert_array_equal(mask, read_mask(tmp_path / "out" / f"{image}.png"))


def test_a_command_that_failed_in_the_middle_goes_on(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, notes = tmp_path / "in", list[str]()
    for row in range(5):
        picture(images / f"{row}.png", 36, 32 + 8 * (row % 2))  # a batch for each image
    predict(model, images, tmp_path / "whole", device="cpu")
    write, written = write_predictions.write_mask, list[Path]()

    def stop(*given: Any) -> None:
        if given[2].stem == "3":
            raise KeyboardInterrupt
        write(*given)

    monkeypatch.setattr(write_predictions, "write_mask", stop)
    with pytest.raises(KeyboardInterrupt):
        predict(model, images, tmp_path / "out", device="cpu")
    first = content(tmp_path / "out")
    assert sorted(first) == ["0.png", "1.png", "2.png"]
    monkeypatch.setattr(write_predictions, "write_mask", lambda *given: (written.append(given[2]), write(*given))[1])
    predict(model, images, tmp_path / "out", device="cpu", on_note=notes.append)
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    assert [path.name for path in written] == ["3.png", "4.png"]
    assert notes == ["3 of 5 predictions are there already, by the same model for the same images"]
    shutil.copy(images / "0.png", images / "4.png")  # another image, another model: predicted again
    predict(model, images, tmp_path / "out", device="cpu", on_note=notes.append)
    predict(model, images, tmp_path / "out", tta="flips", device="cpu", on_note=notes.append)
    assert [path.name for path in written[-6:]] == ["4.png", *(f"{row}.png" for row in range(5))]
    replaced = "masks of another model, decision or image, that are replaced:"
    kept = "4 of 5 predictions are there already, by the same model for the same images"
    assert notes[1:] == [f"{replaced} 1", kept, f"{replaced} 5"]


def test_a_damaged_image_is_found_before_the_first_is_predicted(model: Path, tmp_path: Path) -> None:
    for row in range(3):
        picture(tmp_path / "in" / f"{row}.png", 36, 32)
    damaged = (tmp_path / "in" / "2.png").read_bytes()
    (tmp_path / "in" / "2.png").write_bytes(damaged[:400])
    with pytest.raises(EnsError, match=r"2\.png cannot be read as an image"):
        predict(model, tmp_path / "in", tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [(1, 1), (7, 40), (40, 31)])
def test_small_images_are_predicted(predictor: Predictor, size: tuple[int, int]) -> None:
    image = NOISE.integers(0, 256, size, dtype=np.uint8)
    found = predictor(image)
    assert found.shape == (3, *size)
    wide = np.pad(image, [(0, max(0, 32 - side)) for side in size], mode="edge")
    np.testing.assert_array_equal(found, predictor(wide)[:, : size[0], : size[1]])


def test_folders_below_give_folders_of_masks(model: Path, tmp_path: Path) -> None:
    for name in ("berlin/0.png", "bonn/0.png", "bonn/1.png"):
        picture(tmp_path / "city" / name, 36, 32)
    for _ in range(2):
        assert predict(model, tmp_path / "city", tmp_path / "city" / "out", device="cpu") == 3
    assert sorted(content(tmp_path / "city" / "out")) == ["berlin/0.png", "bonn/0.png", "bonn/1.png"]
    picture(tmp_path / "city" / "out" / "bonn" / "mine.png", 3, 3)
    with pytest.raises(EnsError, match="holds bonn, which it did not write"):
        predict(model, tmp_path / "city", tmp_path / "city" / "out", device="cpu")


def test_names_that_are_one_name_are_refused(model: Path, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "A.png", 36, 32)
    picture(tmp_path / "in" / "a.png", 36, 32)
    with pytest.raises(EnsError, match=r"of .*A\.png and .*a\.png would have the same name a\.png; rename one"):
        predict(model, tmp_path / "in", tmp_path / "out", device="cpu")
    (tmp_path / "in" / "A.png").rename(tmp_path / "in" / "a.jpg")
    with pytest.raises(EnsError, match=r"a\.jpg and a\.png in .* have the same name; rename one"):
        predict(model, tmp_path / "in", tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()

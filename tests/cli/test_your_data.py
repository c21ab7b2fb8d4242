"""Three ways of the owner's data through the program, as the pages show them: CamVid, object masks, GeoTIFF."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import rasterio
from numpy.typing import NDArray
from PIL import Image
from typer.testing import Result

from ensemble.inference.run_lengths import decode

Ens = Callable[..., Result]
RAW = Path(__file__).parents[2].parent / "shared" / "data" / "nuclei_raw"
SMALL = ("--arch", "unet-baseline(depth=2)", "--loss", "ce", "--quiet")


def scene(seed: int, values: Sequence[int]) -> NDArray[np.uint8]:
    """Return blocks of the values, 48x64 pixels."""
    blocks = np.random.default_rng(seed).choice(np.array(values, np.uint8), (6, 8))
    blocks.flat[: len(values)] = values
    return blocks.repeat(8, 0).repeat(8, 1)


def photograph(seed: int, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an RGB image in which the colour depends on the id, with noise."""
    table = np.random.default_rng(7).integers(0, 200, (256, 3))
    noise = np.random.default_rng(seed).integers(0, 40, (*mask.shape, 3))
    return (table[mask] + noise).astype(np.uint8)


def save(path: Path, array: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def run(ens: Ens, *arguments: str | Path) -> str:
    result = ens(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def draw_camvid(root: Path) -> None:
    """Draw the folders, lists, names and ids of SegNet's CamVid; 11 is void."""
    names = {
        "train": [f"0001TP_{6690 + 30 * number:06}" for number in range(16)],
        "val": [f"0016E5_{7959 + 2 * number:05}" for number in range(12)],
        "test": [f"Seq05VD_f{30 * number:05}" for number in range(12)],
    }
    for start, (part, frames) in enumerate(names.items()):
        for number, name in enumerate(frames):
            mask = scene(100 * start + number, range(12))
            save(root / part / f"{name}.png", photograph(100 * start + number, mask))
            save(root / f"{part}annot" / f"{name}.png", mask)
        lines = [f"/SegNet/CamVid/{part}/{name}.png /SegNet/CamVid/{part}annot/{name}.png\n" for name in frames]
        (root / f"{part}.txt").write_text("".join(lines))


def test_camvid_in_five_commands(ens: Ens, here: Path) -> None:
    draw_camvid(here / "camvid")
    run(ens, "data", "describe", "camvid", "--out", "camvid.toml")
    for seed in ("0", "1"):
        run(ens, "train", "camvid.toml", *SMALL, "--steps", "40", "--batch-size", "8", "--lr", "1e-2", "--seed", seed)
    run(ens, "combine", "--method", "average", "--no-picture", "--quiet")
    scores = json.loads(run(ens, "evaluate", "average", "camvid.toml", "--part", "test", "--json"))
    run(ens, "predict", "average", "camvid.toml", "--out", "masks")

    config = json.loads(next(Path("runs/members").glob("*/config.json")).read_text())
    assert config["data"]["classes"][0] == "sky"
    assert "void" not in [name.lower() for name in config["data"]["classes"]]
    predicted = sorted(Path("masks").iterdir())
    assert [path.stem for path in predicted] == [f"Seq05VD_f{30 * number:05}" for number in range(12)]
    right = []
    for path in predicted:
        mask, truth = np.asarray(Image.open(path)), np.asarray(Image.open(Path("camvid/testannot") / path.name))
        assert set(np.unique(mask)) <= set(range(11))
        right.append((mask == truth)[truth != 11].mean())
    assert np.mean(right) > 0.6
    assert scores["scores"]["miou"] > 0.4
    assert scores["scores"]["images"] == 12


@pytest.mark.data
@pytest.mark.skipif(not RAW.is_dir(), reason="../shared/data/nuclei_raw is absent")
def test_photographs_with_a_mask_per_object_end_in_run_lengths(ens: Ens, here: Path) -> None:
    run(ens, "data", "describe", RAW, "--out", "nuclei.toml")
    assert "98 labelled images" in Path("nuclei.toml").read_text()
    tiny = ("--arch", "unet-baseline(filters=4, depth=2)", "--loss", "ce", "--quiet")
    run(ens, "train", "nuclei.toml", *tiny, "--crop", "128x128", "--steps", "40")
    for folder in sorted(RAW.iterdir())[:6]:
        (image,) = (folder / "images").iterdir()
        save(Path("photos") / image.name, np.asarray(Image.open(image)))
    run(ens, "predict", "unet-baseline", "photos", "--out", "masks")
    run(ens, "predict", "unet-baseline", "photos", "--out", "objects.csv", "--format", "rle", "--instances")
    rows = pd.read_csv("objects.csv", keep_default_na=False)
    for path in sorted(Path("masks").iterdir()):
        mask = np.asarray(Image.open(path))
        objects = rows[(rows.id == path.stem) & (rows.rle != "")]
        assert mask.shape == np.asarray(Image.open(Path("photos") / path.name)).shape[:2]
        objects_hw = np.zeros(mask.shape, np.int64)
        for text in objects.rle:  # a network that learned little predicts thousands of them
            objects_hw += decode(text, mask.shape)
        np.testing.assert_array_equal(objects_hw, mask == 255)
        assert len(objects) == cv2.connectedComponents((mask == 255).astype(np.uint8), connectivity=8)[0] - 1


def test_a_geotiff_of_six_bands_ends_in_a_geotiff(ens: Ens, here: Path) -> None:
    transform = rasterio.Affine(10, 0, 399_960, 0, -10, 5_300_040)
    for number in range(12):
        mask = scene(number, (0, 40, 200))
        bands = np.stack([photograph(number + 20 * part, mask)[..., part % 3] for part in range(6)]).astype(np.uint16)
        for folder, array in (("scenes", bands * 40), ("land_cover", mask[None])):
            Path(folder).mkdir(exist_ok=True)
            shape: dict[str, Any] = {"count": len(array), "height": 48, "width": 64, "dtype": array.dtype.name}
            place: dict[str, Any] = {"crs": "EPSG:32632", "transform": transform, "compress": "lzw"}
            with rasterio.open(f"{folder}/tile_{number}.tif", "w", driver="GTiff", **shape, **place) as file:
                file.write(array)
    Path("cover.toml").write_text(
        '[train]\nimages = "scenes/{id}.tif"\nmasks = "land_cover/{id}.tif"\n'
        "[classes]\nwater = 0\ncrops = 40\nforest = 200\n"
    )
    assert "48x64, 6 band" in run(ens, "data", "summary", "cover.toml")
    run(ens, "train", "cover.toml", *SMALL, "--steps", "80", "--batch-size", "4")
    run(ens, "predict", "unet-baseline", "scenes/tile_3.tif", "--out", "predicted.tif")
    with rasterio.open("predicted.tif") as found, rasterio.open("land_cover/tile_3.tif") as truth:
        assert found.crs == truth.crs
        assert found.transform == truth.transform
        mask, labels = found.read(1), truth.read(1)
    assert set(np.unique(mask)) <= {0, 40, 200}
    assert (mask == labels).mean() > 0.7

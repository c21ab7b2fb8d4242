"""One large GeoTIFF through an ensemble, from disk to disk: memory, seconds, seams, and a kill in the middle.

Usage: python experiments/benchmarks/gigapixel.py --out experiments/results/gigapixel.csv [--sides 10000]
           [--members 4]
The members are `unet-baseline(depth=2)`, trained for one epoch on the embedded sample with different seeds, and their
average. The image is a mosaic of the sample's test images under a slow change of light, a GeoTIFF of tiles of 256x256
with deflate. For each side one row:
- a process predicts the image; its peak memory is the kernel's figure (VmHWM),
- another one kills itself (SIGKILL) in the middle of the tiles, and the same command is repeated: same bytes?
- of a crop of at most 2000x2000 the probabilities in tiles are compared with those of the whole crop at once: the
  largest difference of all pixels, and how many get another class.
Exit code 1 if the bytes differ, or a pixel gets another class.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from measuring import PRELUDE, conditions, positive, run_program, write_table
from numpy.typing import NDArray

from ensemble import combine, load, train
from ensemble.core.files import file_digest
from ensemble.data.open_source import embedded_sample
from ensemble.inference import batching

PREDICT = """
import os, signal
from ensemble.inference.write_masks import predict
model, image, out, kill = sys.argv[1:]
def progress(task, done, total, note=""):
    if kill == "yes" and task == "predicting tiles" and done == total // 2:
        os.kill(os.getpid(), signal.SIGKILL)
start = time.perf_counter()
predict(model, image, out, device="cpu", progress=progress)
print(json.dumps({"seconds": round(time.perf_counter() - start, 1), "peak_megabytes": peak_megabytes()}))
"""
CROP = 2000


def make_model(runs: Path, members: int) -> Path:
    """Train the members and combine them."""
    options: dict[str, Any] = {"arch": "unet-baseline(depth=2)", "loss": "ce", "epochs": 1, "device": "cpu"}
    trained = [train("sample", out=runs, seed=seed, **options) for seed in range(members)]
    return combine(trained, method="average", runs=runs).ensemble.path


def make_image(path: Path, side: int) -> None:
    """Write the mosaic, a row of sample images at a time."""
    images = embedded_sample().test_nhwc
    high, wide, bands = images.shape[1:]
    generator = np.random.default_rng(0)
    shape: dict[str, Any] = {"count": bands, "height": side, "width": side, "dtype": "uint8"}
    blocks = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}
    place: dict[str, Any] = {"crs": "EPSG:32632", "transform": Affine(10, 0, 500_000, 0, -10, 5_200_000)}
    with rasterio.open(path, "w", driver="GTiff", **shape, **blocks, **place) as file:
        for first in range(0, side, high):
            chosen = images[generator.integers(0, len(images), -(-side // wide))]
            row = np.concatenate(list(chosen), axis=1)[: min(high, side - first), :side]
            light = 0.75 + 0.25 * np.sin((np.arange(side) + first) / 700)[None, :, None]
            window = ((first, first + len(row)), (0, side))
            file.write(np.moveaxis((row * light).astype(np.uint8), -1, 0), window=window)


def seams(model: Path, image: Path) -> dict[str, float]:
    """Compare a crop in tiles with the same crop predicted as a whole."""
    with rasterio.open(image) as file:
        crop = np.moveaxis(file.read(window=((0, min(CROP, file.height)), (0, min(CROP, file.width)))), 0, -1)
    predictor = load(model)
    found: list[NDArray[np.float32]] = []
    for pixels in (1, crop.size):
        batching.WHOLE_PIXELS = pixels  # pyright: ignore[reportConstantRedefinition]
        found.append(predictor(crop))
    tiled, whole = found
    other = (predictor.masks(tiled[None]) != predictor.masks(whole[None])).sum()
    return {
        "crop": len(crop),
        "largest_difference": float(f"{np.abs(tiled - whole).max():.1e}"),
        "other_class": int(other),
    }


def measure(model: Path, side: int, folder: Path) -> dict[str, Any]:
    """Predict an image of one side, once without and once with a kill."""
    image, whole, killed = folder / f"{side}.tif", folder / f"{side}-mask.tif", folder / f"{side}-killed.tif"
    make_image(image, side)
    predictor = load(model)
    done = run_program(PREDICT, model, image, whole, "no")
    first = subprocess.run([sys.executable, "-c", PRELUDE + PREDICT, model, image, killed, "yes"], check=False)
    finished = len(list(folder.glob(f".{killed.name}.*.unfinished/*.npy")))
    again = run_program(PREDICT, model, image, killed, "no")
    strips = len(predictor.networks.tiling.spans(side))
    row = {
        "side": side,
        "image_megabytes": round(image.stat().st_size / 1e6, 1),
        "members": len(predictor.members),
        "tile": predictor.networks.tiling.tile,
        "tiles": strips**2,
        **done,
        "strips": strips,
        "ended_by": "SIGKILL" if first.returncode == -9 else f"exit code {first.returncode}",
        "strips_kept": finished,
        "seconds_again": again["seconds"],
        "same_bytes": file_digest(whole) == file_digest(killed),
    }
    print(json.dumps(row), flush=True)
    return row | seams(model, image)


def main() -> None:
    """Measure every side and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sides", type=positive, nargs="+", default=[10_000])
    parser.add_argument("--members", type=positive, default=4)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, about = make_model(folder / "runs", arguments.members), conditions(("numpy", "torch", "tifffile"))
        rows: list[dict[str, Any]] = []
        for side in arguments.sides:
            rows.append(measure(model, side, folder) | about)
            write_table(arguments.out, rows, ("side", "seconds", "peak_megabytes", "same_bytes", "largest_difference"))
    sys.exit(any(not row["same_bytes"] or row["other_class"] for row in rows))


if __name__ == "__main__":
    main()

"""Peak memory of `ens predict` against the number of images: it must not grow.

Usage: python experiments/benchmarks/predict_memory.py MODEL DATA.npz --out experiments/results/predict-memory.csv
The test images of DATA are repeated to 500, 1,500 and 6,000; each count is predicted in a process of its own, to a
folder-free form (npz), and the operating system's own figure of the process' peak memory is read.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from ensemble.core.files import write_bytes
from ensemble.inference.hardware import cpu_name

CHILD = """
import resource, sys
from pathlib import Path
from ensemble.inference.load import load
from ensemble.inference.write_masks import predict_to
from ensemble.inference.open_images import open_images
count, _ = predict_to(load(sys.argv[1]), open_images(sys.argv[2]), Path(sys.argv[3]))
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def measure(model: str, images: np.ndarray, count: int, folder: Path) -> dict[str, object]:
    """Predict ``count`` image files in a fresh process; images are files, so that reading them streams too."""
    source = folder / f"images-{count}"
    source.mkdir()
    for index in range(count):
        Image.fromarray(images[index % len(images)]).save(source / f"{index:06d}.png")
    start = time.perf_counter()
    command = [sys.executable, "-c", CHILD, model, str(source), str(folder / f"{count}.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    predicted, megabytes = done.stdout.split()
    seconds = time.perf_counter() - start
    return {
        "images": int(predicted),
        "peak_megabytes": round(float(megabytes), 1),
        "seconds_with_start_up": round(seconds, 1),
        "model": Path(model).name,
        "cpu": cpu_name(),
    }


def main() -> None:
    """Measure three counts and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    images = np.load(arguments.data)["test_set"]
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(arguments.model, images, count, Path(folder)) for count in (500, 1500, 6000)]
    frame = pd.DataFrame(rows)
    write_bytes(arguments.out, frame.to_csv(index=False, lineterminator="\n").encode())
    print(frame.to_string(index=False))


if __name__ == "__main__":
    main()

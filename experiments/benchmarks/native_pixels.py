"""Two ways for a network to see images, in the same minutes: is one better, in the pixels of the images?

Usage: python experiments/benchmarks/native_pixels.py --nuclei FOLDER --mars FILE [--minutes 4]
           --out experiments/results/native-pixels.csv --picture experiments/results/native-pixels.png
1. `nuclei`: photographs of cells in nine sizes. Windows of 256x256 in native pixels (`--crop`), against whole images
   that the network resizes to 256x256 (`--input-size`). Three folds; a picture shows an image of each kind of size.
2. `mars`: tiles of 64x128. The network sees them as they are, against enlarged to twice their size (`--input-scale 2`).
The two members of a question train at the same time, each with one thread and the same time budget, so whatever else
the machine does meets both. Differences are paired over image groups, as `ens compare` makes them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from measuring import THREADS, conditions, write_table
from numpy.typing import NDArray

from ensemble import compare_runs
from ensemble.config import DataSettings
from ensemble.core.palette import class_colours
from ensemble.data import Dataset, open_dataset
from ensemble.runs.member import Member

COMMON = ("--loss", "weighted-ce", "--augment", "flips", "--optimiser", "adamw", "--device", "cpu")
QUESTIONS: dict[str, tuple[tuple[str, ...], dict[str, tuple[str, ...]]]] = {
    "nuclei": (
        ("--arch", "unet(filters=8)", "--folds", "3", "--batch-size", "8"),
        {"windows of 256x256": ("--crop", "256x256"), "whole images at 256x256": ("--input-size", "256x256")},
    ),
    "mars": (("--arch", "unet"), {"enlarged to twice the size": ("--input-scale", "2"), "as they are": ()}),
}


def train_both(data: Path, question: str, minutes: float, runs: Path) -> list[Member]:
    """Train the two members of a question at the same time."""
    shared, ways = QUESTIONS[question]
    budget = ("--budget", f"{60 * minutes:g}s", "--out", str(runs))
    alone = os.environ | dict.fromkeys(THREADS, "1")
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "ensemble", "train", str(data), *COMMON, *shared, *way, *budget, "--quiet"],
            stdout=subprocess.PIPE,
            text=True,
            env=alone,
        )
        for way in ways.values()
    ]
    printed = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        sys.exit("training failed")
    return [Member.open(Path(text.strip().splitlines()[-1])) for text in printed]


def row_of(question: str, way: str, member: Member) -> dict[str, Any]:
    """Return the scores of one member, and how it trained."""
    scores, settings = member.scores, member.settings
    classes = member.facts.classes
    last = scores["iou"][classes[-1]]
    return {
        "question": question,
        "way": way,
        "miou": scores["miou"],
        "miou_low": scores["miou_low"],
        "miou_high": scores["miou_high"],
        "iou_of": classes[-1],
        "iou": last,
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "training_seconds": round(member.status["training_seconds"], 1),
        "seconds": round(member.status["seconds"], 1),
        "images": scores["images"],
        "groups": scores["groups"],
    }


def differences(members: Sequence[Member]) -> dict[str, float]:
    """Return the paired difference of the first to the second member: mean IoU, and IoU of the last class."""
    found = {one.score: one for one in compare_runs([member.path for member in members]).differences}
    columns: dict[str, float] = {}
    for name, score in (("miou", "mIoU"), ("iou", members[0].facts.classes[-1])):
        estimate = found[score].estimate
        columns |= {
            f"{name}_difference": estimate.difference,
            f"{name}_difference_low": estimate.low,
            f"{name}_difference_high": estimate.high,
        }
    return columns


def draw(dataset: Dataset, members: Sequence[Member], ways: Sequence[str], path: Path) -> None:
    """Draw an image of every few sizes with its mask and what both members predicted out of fold."""
    order = sorted(range(len(dataset.ids)), key=lambda row: dataset.sizes[row])
    chosen = [order[0], order[len(order) // 2], order[-1]]
    colours = class_colours(range(len(dataset.classes)))
    figure, axes = plt.subplots(len(chosen), 2 + len(members), figsize=(12, 9), constrained_layout=True)
    for line, row in zip(axes, chosen, strict=True):
        masks = [_stored_mask(member, dataset.ids[row]) for member in members]
        pictures = [np.asarray(dataset.image(row)), *(colours[mask] for mask in (dataset.label(row), *masks))]
        height, width = dataset.sizes[row]
        for axis, picture, title in zip(line, pictures, (f"{height}x{width}", "mask", *ways), strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.set_title(title, fontsize=9)
            axis.axis("off")
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _stored_mask(member: Member, image: str) -> NDArray[np.uint8]:
    store = member.store()
    ((_, probs_1khw, _),) = store.batches(1, [store.ids.index(image)])
    return probs_1khw[0].argmax(0).astype(np.uint8)


def main() -> None:
    """Answer both questions and write the table and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nuclei", type=Path)
    parser.add_argument("--mars", type=Path)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--runs", type=Path, help="folder for the members (default: a temporary one)")
    given = parser.parse_args()
    where, rows = conditions(("torch", "numpy")), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder:
        for question, data in (("nuclei", given.nuclei), ("mars", given.mars)):
            if data is None:
                continue
            members = train_both(data, question, given.minutes, given.runs or Path(folder))
            ways, paired = list(QUESTIONS[question][1]), differences(members)
            rows += [
                row_of(question, way, member) | paired | {"minutes": given.minutes} | where
                for way, member in zip(ways, members, strict=True)
            ]
            if question == "nuclei" and given.picture:
                draw(open_dataset(DataSettings(source=str(data))), members, ways, given.picture)
    write_table(given.out, rows, ["question", "way", "miou", "iou", "miou_difference", "iou_difference", "seconds"])


if __name__ == "__main__":
    main()

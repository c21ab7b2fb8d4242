"""What removing small objects gains on planted truths: with salt noise, and where small objects are true.

Usage: python experiments/benchmarks/small_objects.py --out experiments/results/small-objects.csv
Images of three classes: the largest of smooth random fields, "ground" and "field"; and "rocks", disks in every third
image. A member's logits are the truth, blurred as networks blur it, plus smooth noise, plus salt: at a share of the
pixels, alone and in clusters, noise of deviation 4. Worlds: "salt" with the share of such pixels; "tiny rocks", whose
rocks have the 1 to 5 pixels that cleaning takes for noise. The average of three members decides by argmax. The sizes of
`--smallest-object auto` are fitted to one half of the images and scored on the other, and the same for a smallest
object of 8 pixels for all classes, which looks at no label. Rows are means over worlds, in points of mIoU, with the
standard error of the gain; `share_below` is the share of the worlds that score less than before.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from ensemble.combining.arithmetic import softmax
from ensemble.combining.small_objects import SizeTable, without_small_objects
from ensemble.evaluation.confusion import confusion_per_image, iou_per_class

WORLDS = {"no salt": (0.0, 4.0), "salt 1 %": (0.01, 4.0), "salt 5 %": (0.05, 4.0), "tiny rocks": (0.01, 0.9)}
CLASSES, MEMBERS, SIZE = 3, 3, (48, 64)
FIXED = 8


def truth(images: int, radius: float, random: np.random.Generator) -> NDArray[np.uint8]:
    """Return masks: two smooth classes, and disks of about this radius in every third image."""
    fields = ndimage.gaussian_filter(random.normal(size=(2, images, *SIZE)), (0, 0, 6, 6))
    masks = fields.argmax(0).astype(np.uint8)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    for mask in masks[::3]:
        for _ in range(4 if radius > 2 else 20):
            y, x, r = random.uniform(0, SIZE[0]), random.uniform(0, SIZE[1]), radius * random.uniform(0.6, 1.4)
            mask[(rows - y) ** 2 + (columns - x) ** 2 <= r**2] = 2
    return masks


def member(masks: NDArray[np.uint8], salt: float, random: np.random.Generator) -> NDArray[np.float32]:
    """Return the probabilities (n, classes, h, w) of one member."""
    shape = len(masks), CLASSES, *SIZE
    one_hot = (masks[:, None] == np.arange(CLASSES)[:, None, None]).astype(np.float32)
    logits = 4 * ndimage.gaussian_filter(one_hot, (0, 0, 0.7, 0.7))
    smooth = ndimage.gaussian_filter(random.normal(size=shape).astype(np.float32), (0, 0, 4, 4))
    logits += 1.2 * smooth / smooth.std()
    where = random.random((len(masks), 1, *SIZE)) < salt
    where = np.logical_or(where, ndimage.binary_dilation(random.random(where.shape) < salt / 20, np.ones((1, 1, 2, 2))))
    return softmax((logits + where * 4 * random.normal(size=shape)).astype(np.float32))


def scores(masks: NDArray[np.uint8], decided: NDArray[Any]) -> dict[str, Any]:
    """Return the mean IoU and the IoU of the rocks, in points."""
    each = iou_per_class(confusion_per_image(masks, decided, CLASSES).sum(0))
    return {"miou": 100 * np.nanmean(each), "rocks": 100 * each[-1]}


def one(salt: float, radius: float, images: int, seed: int) -> dict[str, Any]:
    """Return the scores of every cleaning in one world, and the sizes that were chosen."""
    random = np.random.default_rng(seed)
    masks = truth(2 * images, radius, random)
    decided = np.mean([member(masks, salt, random) for _ in range(MEMBERS)], axis=0).argmax(1)
    table = SizeTable(CLASSES)
    table.add(masks[:images], decided[:images])
    sizes = {"none": np.ones(CLASSES, np.int64), "auto": table.best(), str(FIXED): np.full(CLASSES, FIXED)}
    found: dict[str, Any] = {}
    for name, smallest_c in sizes.items():
        cleaned = without_small_objects(decided[images:], smallest_c)
        found |= {(name, key): value for key, value in scores(masks[images:], cleaned).items()}
        found |= {(name, "smallest_rock"): smallest_c[-1], (name, "smallest_other"): smallest_c[:-1].max()}
    return found


def measure(worlds: int, images: int) -> pd.DataFrame:
    """Return a row per kind of world and cleaning."""
    rows: list[dict[str, Any]] = []
    for name, (salt, radius) in WORLDS.items():
        every = pd.DataFrame([one(salt, radius, images, seed) for seed in range(worlds)])
        for cleaning in dict.fromkeys(key[0] for key in every.columns):
            gain = every[(cleaning, "miou")] - every[("none", "miou")]
            row = {"world": name, "smallest_object": cleaning, "miou": every[(cleaning, "miou")].mean()}
            row |= {"gain": gain.mean(), "gain_error": gain.std() / worlds**0.5, "share_below": (gain < 0).mean()}
            row["rocks"] = every[(cleaning, "rocks")].mean()
            row |= {key: every[(cleaning, key)].median() for key in ("smallest_rock", "smallest_other")}
            rows.append(row | {"worlds": worlds, "images": images})
    return pd.DataFrame(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--worlds", type=int, default=20)
    parser.add_argument("--images", type=int, default=60)
    given = parser.parse_args()
    table = measure(given.worlds, given.images)
    table.to_csv(given.out, index=False, float_format="%.4f")
    print(table.to_string(index=False))

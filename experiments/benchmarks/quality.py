"""Whether the interval of an IoU that is estimated without a mask holds the true one, on planted truths.

Usage: python experiments/benchmarks/quality.py --out experiments/results/quality.csv
Scenes (groups) differ in how hard they are. An image has 16 x 16 pixels of three classes, the last one rare, by logits
that are constant in blocks of 4 x 4 pixels but for some noise. Three members see the logits with an error that they
share and one of their own, both larger in hard scenes; nobody calibrates their average. The estimate is fitted to the
images of 10, 20 or 60 scenes with 1 or 3 images each, and judged on one image of each of 60 new scenes. A row is a
number of scenes, a number of images and what is estimated: the mean IoU of an image, or the IoU of a class. Columns are
means over worlds: the share of the intervals of 90 % that hold (with the standard error of the mean), their width, the
rank correlation of estimated and true IoU, that of the expected IoU alone, which is not fitted, how far this lies above
the true IoU on average, and the share of the worst tenth of the images that is found. `without` is the share of the
worlds in which too few scenes hold the class for an estimate.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from ensemble.combining.quality import information_of, quality_counts
from ensemble.evaluation.confusion import Floats, confusion_per_image
from ensemble.evaluation.quality import features_of, fit_quality, true_quality, validate_quality

WHAT = ("image", "common class", "common class 2", "rare class")
MEMBERS, CLASSES, SIDE, BLOCK, NEW = 3, 3, 16, 4, 60


def smooth(random: np.random.Generator, *shape: int) -> Floats:
    """Return normal numbers (..., SIDE, SIDE) that are constant in blocks."""
    coarse = random.normal(size=(*shape, SIDE // BLOCK, SIDE // BLOCK))
    return coarse.repeat(BLOCK, axis=-2).repeat(BLOCK, axis=-1)


def images(random: np.random.Generator, scenes: int, each: int) -> tuple[Floats, Floats, list[str]]:
    """Return features (n, 1 + k, 2), true IoU (n, 1 + k) and scene of each image."""
    scene_n = np.repeat(np.arange(scenes), each)
    hard_n = random.gamma(2, 0.5, scenes)[scene_n][:, None, None, None]
    total = len(scene_n)
    logits = 1.5 * smooth(random, total, CLASSES) + random.normal(0, 0.5, (total, CLASSES, SIDE, SIDE))
    logits[:, -1] -= 2
    labels = (2 * logits + 0.5 * random.gumbel(size=logits.shape)).argmax(1).astype(np.uint8)
    shared = 0.6 * hard_n * smooth(random, total, CLASSES)
    own = 1.2 * hard_n * smooth(random, MEMBERS, total, CLASSES)
    own += random.normal(0, 0.7, (MEMBERS, total, CLASSES, SIDE, SIDE))
    members: NDArray[np.float32] = softmax(2 * logits + shared + own, axis=2).astype(np.float32)
    pooled = members.mean(0)
    decided = pooled.argmax(1)
    features = features_of(quality_counts(pooled, decided, information_of(members)))
    truth = true_quality(confusion_per_image(labels, decided, CLASSES))
    return features, truth, [f"scene {scene:03d}" for scene in scene_n]


def one(scenes: int, each: int, seed: int) -> list[dict[str, Any]]:
    """Return what is found in one world, in a row for each of `WHAT`."""
    random, rows = np.random.default_rng([seed, scenes, each]), list[dict[str, Any]]()
    fit_features, fit_truth, groups = images(random, scenes, each)
    features, truth, new = images(random, NEW, 1)
    for place, what in enumerate(WHAT):
        row: dict[str, Any] = {"what": what}
        model = fit_quality(fit_features[:, place], fit_truth[:, place], groups)
        if model is not None:
            found = model(features[:, place])
            row |= validate_quality(found, truth[:, place], new)
            row["width"] = np.nanmean(found[:, 2] - found[:, 1])
            alone = np.column_stack([features[:, place, 0]] * 3)
            row["spearman_alone"] = validate_quality(alone, truth[:, place], new)["spearman"]
            row["too_high"] = np.nanmean(features[:, place, 0] - truth[:, place])
        rows.append(row | {"scenes": scenes, "each": each, "without": float(model is None)})
    return rows


def measure(worlds: int) -> pd.DataFrame:
    """Return a row per number of scenes and images and what is estimated."""
    rows = [
        row for scenes in (10, 20, 60) for each in (1, 3) for seed in range(worlds) for row in one(scenes, each, seed)
    ]
    groups = pd.DataFrame(rows).astype({"coverage": float, "spearman": float}).groupby(["scenes", "each", "what"])
    columns = ["coverage", "width", "spearman", "spearman_alone", "too_high", "worst_found", "without"]
    table: Any = groups[columns].mean()
    table.insert(1, "coverage_error", groups["coverage"].std() / groups["coverage"].count() ** 0.5)
    return table.assign(worlds=worlds).reset_index()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--worlds", type=int, default=200)
    given = parser.parse_args()
    table = measure(given.worlds)
    table.to_csv(given.out, index=False, float_format="%.4f")
    print(table.to_string(index=False))

"""How often the interval of the F1 of objects misses a planted truth, and how long counting objects takes.

Usage: python experiments/benchmarks/object_scores.py --out experiments/results/object-scores.csv
A group of images holds one true object or more, on average three. A system finds an object with a probability of the
group (a beta distribution with the planted mean and a standard deviation of 0.2, 0.1 at a mean of 0.05), and invents as
many as it misses, on average. The truth is the F1 of 200,000 groups. Differences are between two systems that draw
their probabilities independently. Times are those of the processor, for patches of noise with four classes.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ensemble.evaluation.object_strips import StripObjects
from ensemble.evaluation.objects import object_counts, object_f1
from ensemble.evaluation.paired import Draws
from ensemble.evaluation.proportion_intervals import share_interval

WORLDS, POPULATION, GROUPS, MEANS = 1000, 200_000, (10, 20, 50, 200), (0.05, 0.5, 0.9)
STRIP = 500


def drawn(mean: float, true_g: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
    """Return the counts (g, 4) of a system that finds objects with a probability of ``mean``."""
    spread = 0.1 if mean < 0.1 else 0.2
    weight = mean * (1 - mean) / spread**2 - 1
    found_g = random.binomial(true_g, random.beta(mean * weight, (1 - mean) * weight, len(true_g)))
    return np.stack([found_g, found_g + random.poisson(true_g * (1 - mean)), found_g, true_g], axis=-1)


def rates(groups: int, mean: float) -> dict[str, float | int]:
    """Return how often the interval misses the truth, and how often two equal systems differ at 5 %."""
    random = np.random.default_rng(groups)
    truth = float(object_f1(drawn(mean, 1 + random.poisson(2, POPULATION), random).sum(0)))
    misses, differs, widths = 0, 0, 0.0
    for _ in range(WORLDS):
        true_g = 1 + random.poisson(2, groups)
        draws = Draws.of([f"{group:04d}" for group in range(groups)], resamples=1)
        counts = [drawn(mean, true_g, random)[:, None] for _ in range(2)]
        one, other = map(draws.objects, counts)
        left_out_g = object_f1(draws.left_out.totals(counts[0]))[:, 0]
        limits = share_interval(float(one.whole_c[1]), left_out_g, groups)
        misses += not limits.low <= truth <= limits.high
        widths += limits.high - limits.low
        differs += one.minus(other, 1).p_value() < 0.05
    return {
        "groups": groups, "found": mean, "f1": truth, "worlds": WORLDS, "misses": misses / WORLDS,
        "mean_width": widths / WORLDS, "false_differences": differs / WORLDS,
    }  # fmt: skip


def patches(images: int, height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return labels and predictions (images, height, width) of four classes; four of five pixels agree."""
    random = np.random.default_rng(0)
    smooth, fine = (
        gaussian_filter(random.normal(size=(images, 4, height, width)), (0, 0, size, size)) for size in (4, 1)
    )
    return smooth.argmax(1).astype(np.uint8), (smooth + 0.1 * fine).argmax(1).astype(np.uint8)


def times() -> list[dict[str, float | str]]:
    """Time 1,500 tiles of 64x128 in batches of 50, and an image of 10,000x10,000 in strips of `STRIP` rows."""
    labels, guess = patches(50, 64, 128)
    object_counts(labels, guess, 4)  # imports
    start = time.process_time()
    for _ in range(30):
        object_counts(labels, guess, 4)
    rows: list[dict[str, float | str]] = [{"what": "1,500 tiles of 64x128", "seconds": time.process_time() - start}]
    labels, guess = (np.tile(each[0], (20, 20))[None] for each in patches(1, STRIP, STRIP))
    strips, start = StripObjects(20 * STRIP, 20 * STRIP, 4), time.process_time()
    for top in range(0, 20 * STRIP, STRIP):
        strips.add(labels[:, top : top + STRIP], guess[:, top : top + STRIP], top)
    return [*rows, {"what": "an image of 10,000x10,000 in strips", "seconds": time.process_time() - start}]


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    rows = [rates(groups, mean) for mean in MEANS for groups in GROUPS]
    table = pd.DataFrame([{"what": "planted truth", **row} for row in rows] + times())
    table.round(4).to_csv(out, index=False)


if __name__ == "__main__":
    main()

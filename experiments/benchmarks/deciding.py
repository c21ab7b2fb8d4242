"""What the decision for the mean IoU gains on planted truths, if probabilities are right, over- or under-confident.

Usage: python experiments/benchmarks/deciding.py --out experiments/results/deciding.csv
Pixels of four classes have true probabilities: the softmax of a normal logit per class times their separation, and
the log share of the class. Labels are drawn from these probabilities. What the rule sees is p^(1/T), normalised: right
at T = 1, over-confident below it, under-confident above it. The rule is fitted to the pixels of one half of a world,
without their labels (`validation`), or to those of the other half itself (`images`); that other half is scored. Rows
are means over worlds, in points of mIoU, with the standard error of the gain; `share_below` is the share of the worlds
in which the rule scores less than the argmax.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ensemble.combining.arithmetic import tempered
from ensemble.combining.decision import RULES, Decision, fit_decision
from ensemble.evaluation.confusion import dice_per_class, iou_per_class

SHARES = {"rare": (0.6, 0.3, 0.0985, 0.0015), "balanced": (0.25, 0.25, 0.25, 0.25)}
SEPARATIONS = (1.0, 2.0)
TEMPERATURES = (0.25, 0.5, 1.0, 2.0, 4.0)
Probs = NDArray[np.float32]


def world(shares: tuple[float, ...], separation: float, pixels: int, seed: int) -> tuple[Probs, NDArray[np.intp]]:
    """Return true probabilities (classes, pixels), and labels drawn from them."""
    random = np.random.default_rng(seed)
    logits = separation * random.normal(size=(len(shares), pixels)) + np.log(shares)[:, None]
    probs = np.exp(logits - logits.max(0))
    probs /= probs.sum(0)
    labels = (random.random(pixels) > probs.cumsum(0)[:-1]).sum(0)
    return probs.astype(np.float32), labels


def scores(labels: NDArray[np.intp], decided: NDArray[np.intp], classes: int) -> dict[str, Any]:
    """Return mean IoU and Dice and the IoU of the last class, in points."""
    table = np.bincount(labels * classes + decided, minlength=classes**2).reshape(classes, classes)
    each, dice = iou_per_class(table), dice_per_class(table)
    return {"miou": 100 * np.nanmean(each), "dice": 100 * np.nanmean(dice), "last": 100 * each[-1]}


def one(shares: tuple[float, ...], separation: float, temperature: float, pixels: int, seed: int) -> dict[str, Any]:
    """Return the scores of every decision in one world."""
    probs, labels = world(shares, separation, 2 * pixels, seed)
    seen = tempered(probs[None], temperature)[0]
    fit, new, truth, classes = seen[:, :pixels], seen[:, pixels:], labels[pixels:], len(shares)
    rules: dict[str, Decision | None] = {"argmax": None}
    for name, score in RULES.items():
        rules |= {f"{name} validation": fit_decision(lambda: [fit], score)}
        rules |= {f"{name} images": fit_decision(lambda: [new], score)}
    found: dict[str, Any] = {}
    for name, rule in rules.items():
        decided = new.argmax(0) if rule is None else rule.decide(new[None])[0]
        found |= {(name, key): value for key, value in scores(truth, decided, classes).items()}
    return found


def measure(worlds: int, pixels: int) -> pd.DataFrame:
    """Return a row per kind of world, temperature and decision."""
    rows: list[dict[str, Any]] = []
    for (name, shares), separation in ((item, value) for item in SHARES.items() for value in SEPARATIONS):
        for temperature in TEMPERATURES:
            every = pd.DataFrame([one(shares, separation, temperature, pixels, seed) for seed in range(worlds)])
            for rule in dict.fromkeys(key[0] for key in every.columns):
                gain = every[(rule, "miou")] - every[("argmax", "miou")]
                row = {"shares": name, "separation": separation, "temperature": temperature, "decision": rule}
                row |= {key: every[(rule, key)].mean() for key in ("miou", "dice", "last")}
                row |= {"gain": gain.mean(), "gain_error": gain.std() / worlds**0.5, "share_below": (gain < 0).mean()}
                row["dice_gain"] = (every[(rule, "dice")] - every[("argmax", "dice")]).mean()
                rows.append(row | {"worlds": worlds, "pixels": pixels})
    return pd.DataFrame(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--worlds", type=int, default=12)
    parser.add_argument("--pixels", type=int, default=40_000)
    given = parser.parse_args()
    table = measure(given.worlds, given.pixels)
    table.to_csv(given.out, index=False, float_format="%.4f")
    print(table.to_string(index=False))

"""How often the interval of one system's score misses the truth, where the truth is planted.

Usage: python experiments/benchmarks/coverage.py --out experiments/results/coverage.csv
The simulator is that of ``planted_scenes`` (for differences of two systems) with classes and rock as unequal
as on the reference problem: rock is in one image of most groups that hold it at all, and five of 59 such images hold
60 % of its pixels. A population of many thousand groups is made once and its scores are the truth; a data set is some
of its groups drawn at random. The system that "finds" rock does so everywhere alike, the one that "hardly finds" it
gets 2 % of it, and "all or nothing" finds it in three of ten images and has not one pixel in the others. Log-loss,
calibration error and pixel accuracy are those of tables of confidence, right and too sure ones. One row per system,
number of groups, groups with rock (on average), score and interval; data sets without any rock are not counted.
"percentile" and "bca" are textbook, "widened" is the package's `interval`, which it uses for differences and sums, and
"package" is what it says of that score, by `class_intervals`, `share_interval`, `calibration_error_interval` or that.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from planted_scenes import CLASSES, PAIRS, ROCK, TASTE, Scenes, confusions, scenes
from scipy.special import expit, logit
from verdict_rates import LEVEL, accelerated, resampled

from ensemble.evaluation.calibration_interval import calibration_error_interval
from ensemble.evaluation.confusion import class_counts, dice_of, iou_of, mean_present
from ensemble.evaluation.intervals import Interval, interval
from ensemble.evaluation.proportion_intervals import class_intervals, share_interval

Floats = NDArray[np.float64]
Package = Callable[[Floats, Floats, Floats, NDArray[np.intp]], dict[str, Interval]]
STEP = 50  # data sets that share their resamples


@dataclass(frozen=True)
class Population:
    """Groups of images: what they add up to, which classes they hold, and how scores follow from sums.

    Attributes:
        values_gv: numbers per group that add up.
        holds_gk: whether the group holds the class.
        score: sums (..., v) to scores (..., s).
        package: sums of the resamples (b, v) and of the data set (v,), scores without each group (g, s) and the groups
            that hold each class (k,) to the package's intervals by name.
        names: of the scores.
    """

    values_gv: Floats
    holds_gk: NDArray[np.bool_]
    score: Callable[[Floats], Floats]
    package: Package
    names: tuple[str, ...]


# ---------------------------------------------------------------- systems and their scores


def plant(groups: int, rock_share: float, seed: int) -> Scenes:
    """Scenes in which ``rock_share`` of the groups hold rock, as concentrated as in the reference problem."""
    seen = scenes(groups, 0.0, seed)
    random = np.random.default_rng([seed, 1])
    first_n = np.diff(seen.group_n, prepend=-1) > 0
    held_n = (random.random(groups) < rock_share)[seen.group_n] & (first_n | (random.random(len(first_n)) < 0.035))
    rock_n = np.where(held_n, np.minimum(0.6, 0.0075 * np.exp(2.05 * random.normal(size=len(first_n)))), 0.0)
    labelled_n1 = seen.pixels_nk.sum(1, keepdims=True)
    common_nk = (seen.pixels_nk[:, :ROCK] / labelled_n1) ** 1.6
    common_nk *= (1 - rock_n)[:, None] / common_nk.sum(1, keepdims=True)
    return replace(seen, pixels_nk=np.concatenate([common_nk, rock_n[:, None]], axis=1) * labelled_n1)


def tables(seen: Scenes, system: str) -> Floats:
    """Confusion matrices (n, k, k) of a system, in whole pixels."""
    recall_k = PAIRS["blind" if system == "hardly finds" else "twins"][0]
    if system != "all or nothing":
        return np.rint(confusions(seen, 0, recall_k, TASTE))
    random = np.random.default_rng(9)
    table_nkk = confusions(seen, 0, recall_k + np.where(np.arange(CLASSES) == ROCK, 0.8, 0.0), TASTE)
    missed_n = random.random(len(table_nkk)) > 0.3
    table_nkk[missed_n, ROCK] = seen.pixels_nk[missed_n, ROCK, None] * np.eye(CLASSES)[0]
    false_n = random.random(len(table_nkk)) < 0.03  # the false pixels of rock too are in few images
    table_nkk[:, :ROCK, ROCK] *= false_n[:, None] / 0.03
    return np.rint(table_nkk)


def by_group(seen: Scenes, values_nv: Floats) -> Floats:
    """Sums over the images of each group."""
    return np.add.reduceat(values_nv, np.flatnonzero(np.diff(seen.group_n, prepend=-1)), axis=0)


COMMON = ("IoU of soil", "IoU of sand")
OVERLAPS = (COMMON[0], "", COMMON[1], "IoU of rock", *("",) * CLASSES, "mIoU", "mean Dice")  # unnamed: not reported


def overlaps(sums: Floats) -> Floats:
    """IoU and Dice of each class, and their means, from hits, unions and truths (..., 3 k)."""
    counts_3k = sums.reshape(*sums.shape[:-1], 3, CLASSES)
    each = [iou_of(counts_3k), dice_of(counts_3k)]
    return np.concatenate([*each, *(mean_present(values_k)[..., None] for values_k in each)], axis=-1)


def overlap_intervals(
    _: Floats, sums_v: Floats, left_out_gs: Floats, holders_k: NDArray[np.intp]
) -> dict[str, Interval]:
    """The package's intervals of `overlaps`."""
    estimate_s = overlaps(sums_v)
    iou, dice = (
        class_intervals(estimate_s[at : at + CLASSES], left_out_gs[:, at : at + CLASSES], holders_k.tolist())
        for at in (0, CLASSES)
    )
    return {COMMON[0]: iou[1], COMMON[1]: iou[3], "IoU of rock": iou[1 + ROCK], "mIoU": iou[0], "mean Dice": dice[0]}


def rocky(system: str, rock_share: float, groups: int, seed: int) -> Population:
    """The population of a system, in which ``rock_share`` of the groups hold rock."""
    seen = plant(groups, rock_share, seed)
    table_nkk = tables(seen, system)
    values_gv = by_group(seen, class_counts(table_nkk).reshape(len(table_nkk), -1))
    return Population(values_gv, by_group(seen, table_nkk.sum(2)) > 0, overlaps, overlap_intervals, OVERLAPS)


BINS = 15
MIDDLES = (np.arange(BINS) + 0.5) / BINS


def probabilities(system: str, groups: int, seed: int) -> Population:
    """Tables of confidence: pixels are right as often as they say ("calibrated") or less often ("too sure")."""
    seen, random = plant(groups, 0.0, seed), np.random.default_rng([seed, 2])
    n, scale = len(seen.group_n), logit(MIDDLES)
    distance_nb = scale - (2.0 + seen.shared_nk.mean(1))[:, None]
    pixels_nb = np.exp(-(distance_nb**2) / 4.5) * (MIDDLES > 1 / CLASSES)
    pixels_nb *= (seen.pixels_nk.sum(1) / pixels_nb.sum(1))[:, None]
    shift_n = random.normal(0, 0.4, groups)[seen.group_n] + random.normal(0, 0.4, n)
    right_nb = pixels_nb * expit((0.7 if system == "too sure" else 1.0) * scale + shift_n[:, None])
    loss_nb = -right_nb * np.log(MIDDLES) - (pixels_nb - right_nb) * np.log((1 - MIDDLES) / 2)
    values_nv = np.concatenate([pixels_nb, pixels_nb * MIDDLES, right_nb, loss_nb.sum(1, keepdims=True)], axis=1)
    holds_gk = np.ones((groups, CLASSES), dtype=np.bool_)
    return Population(by_group(seen, values_nv), holds_gk, confidences, confidence_intervals, CONFIDENCES)


CONFIDENCES = ("pixel accuracy", "ECE", "log-loss")


def confidences(sums: Floats) -> Floats:
    """Accuracy, calibration error (as `expected_calibration_error`, for many tables at once) and mean log-loss."""
    pixels, sure, right = (sums[..., at : at + BINS] for at in (0, BINS, 2 * BINS))
    parts = [right.sum(-1), np.abs(sure - right).sum(-1), sums[..., 3 * BINS]]
    return np.stack(parts, axis=-1) / pixels.sum(-1, keepdims=True)


def confidence_intervals(
    sums_bv: Floats, sums_v: Floats, left_out_gs: Floats, holders_k: NDArray[np.intp]
) -> dict[str, Interval]:
    """The package's intervals of `confidences`."""
    gap_bb, pixels_b = sums_bv[:, BINS : 2 * BINS] - sums_bv[:, 2 * BINS : 3 * BINS], sums_bv[:, :BINS].sum(1)
    found = sums_v[BINS : 2 * BINS] - sums_v[2 * BINS : 3 * BINS], float(sums_v[:BINS].sum())
    accuracy = float(confidences(sums_v)[0])
    return {
        "pixel accuracy": share_interval(accuracy, left_out_gs[:, 0], int(holders_k[0])),
        "ECE": calibration_error_interval(gap_bb, pixels_b, *found, left_out_gs[:, 1]),
        "log-loss": interval(sums_bv[:, 3 * BINS] / pixels_b, LEVEL, left_out_g=left_out_gs[:, 2]),
    }


# ---------------------------------------------------------------- measuring


def limits(people: Population, chosen_wg: NDArray[np.intp], counts_bg: Floats) -> dict[tuple[str, str], Floats]:
    """Every interval in each data set: (score, interval) to (2 limits, data sets)."""
    values_wgv, holders_wk = people.values_gv[chosen_wg], people.holds_gk[chosen_wg].sum(1)
    totals_wv = values_wgv.sum(1)
    flat_gv = np.ascontiguousarray(values_wgv.swapaxes(0, 1)).reshape(chosen_wg.shape[1], -1)
    sums_bwv = (counts_bg @ flat_gv).reshape(-1, *totals_wv.shape)
    samples_bws, left_wgs = people.score(sums_bwv), people.score(totals_wv[:, None] - values_wgv)
    estimate_ws = people.score(totals_wv)
    found: dict[tuple[str, str], Floats] = {}
    for s, name in enumerate(people.names):
        if name:
            samples_bw, left_wg = samples_bws[..., s], left_wgs[..., s]
            found[name, "percentile"] = resampled(samples_bw, [None] * len(left_wg))
            found[name, "bca"] = accelerated(samples_bw, estimate_ws[:, s], left_wg)
            found[name, "widened"] = resampled(samples_bw, list(left_wg))
    each_w = zip(sums_bwv.swapaxes(0, 1), totals_wv, left_wgs, holders_wk, strict=True)
    mine = [people.package(*each) for each in each_w]
    for name in mine[0]:
        found[name, "package"] = np.array([(each[name].low, each[name].high) for each in mine]).T
    return found


def measure(people: Population, groups: int, simulations: int, resamples: int, seed: int) -> Iterator[dict[str, Any]]:
    """A row per score and interval, from random data sets of so many groups that hold every class."""
    random = np.random.default_rng(seed)
    found: dict[tuple[str, str], list[Floats]] = {}
    for _ in range(0, simulations, STEP):
        chosen_wg = random.integers(len(people.values_gv), size=(STEP, groups))
        chosen_wg = chosen_wg[people.holds_gk[chosen_wg].any(axis=1).all(axis=-1)]
        counts_bg = random.multinomial(groups, np.full(groups, 1 / groups), size=resamples).astype(np.float64)
        for which, pair in limits(people, chosen_wg, counts_bg).items():
            found.setdefault(which, []).append(pair)
    truth_s = people.score(people.values_gv.sum(0))
    for (name, kind), parts in found.items():
        truth, (low_w, high_w) = float(truth_s[people.names.index(name)]), np.concatenate(parts, axis=1)
        yield {"score": name, "truth": round(truth, 5), "interval": kind} | rates(low_w, high_w, truth)


def rates(low_w: Floats, high_w: Floats, truth: float) -> dict[str, Any]:
    """Shares of the data sets whose interval holds the truth, or lies above or below it, and its mean width."""
    coverage = float(((low_w <= truth) & (truth <= high_w)).mean())
    return {
        "data_sets": len(low_w),
        "coverage": round(coverage, 5),
        "standard_error": round(float(np.sqrt(coverage * (1 - coverage) / len(low_w))), 5),
        "too_high": round(float((low_w > truth).mean()), 5),
        "too_low": round(float((high_w < truth).mean()), 5),
        "mean_width": round(float((high_w - low_w).mean()), 5),
    }


SETTINGS = [
    *(
        (system, groups, held)
        for system in ("finds", "hardly finds", "all or nothing")
        for groups in (150, 700)
        for held in (3, 5, 10, 20, 50)
    ),
    *(("finds", groups, round(0.4 * groups)) for groups in (7, 15, 30)),
    *((system, groups, 0) for system in ("calibrated", "too sure") for groups in (7, 15, 50, 150, 700)),
]


def main() -> None:
    """Measure every setting and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--simulations", type=int, default=2200)
    parser.add_argument("--resamples", type=int, default=1000, help="per data set; the package itself takes 10,000")
    parser.add_argument("--people", type=int, default=30_000, help="groups in a population")
    parser.add_argument("--seed", type=int, default=0)
    plan = parser.parse_args()
    common = {"resamples": plan.resamples, "population_groups": plan.people, "seed": plan.seed, "level": LEVEL}
    common |= {"command": "python " + " ".join(sys.argv)}
    rows: list[dict[str, Any]] = []
    for system, groups, held in SETTINGS:
        if held:
            people = rocky(system, held / groups, plan.people, plan.seed)
        else:
            people = probabilities(system, plan.people, plan.seed)
        start = time.process_time()
        found = list(measure(people, groups, plan.simulations, plan.resamples, plan.seed + 1))
        seconds = {"cpu_seconds": round(time.process_time() - start, 1)}
        where = {"system": system, "groups": groups, "groups_with_rock": held or np.nan}
        rows += [where | row | common | seconds for row in found]
        pd.DataFrame(rows).to_csv(plan.out, index=False)
        print(where, seconds, flush=True)


if __name__ == "__main__":
    main()

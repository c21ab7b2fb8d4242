"""How often the verdict is wrong: false alarms, coverage and power of its intervals where the truth is planted.

Usage: python experiments/benchmarks/verdict_rates.py --out experiments/results/verdict-rates.csv
A population of many thousand groups of images, with confusion matrices of two systems, is made once; what is true is
read off it exactly, and a world is a few of its groups, drawn at random. No image is needed. Both systems see the same
scenes, whose difficulty is shared by the images of a group and by the pixels of an image. Class "rock" is in 2 % of the
images, and a few of them hold most of its pixels. "twins" differ by chance only; "blind" are twins that find nearly no
rock; of the "unlike" pair one is bold about rock (more found, more false) and prefers soil to sand. For these, one
parameter for all classes and one for rock are solved for, so that mean IoU and IoU of rock both differ by the truth of
the row. In "one blind" one of two twins finds nearly no rock, in "one sharp" one finds far more of it than the
other: their truth is as it comes. Worlds without rock are left out (an IoU of rock has no meaning there). One row per
world, truth, share of images with rock, number of groups, score and interval. The package's interval of a difference is
"logits"; "expanded-df" is that of other scores, used for differences before; "percentile" is the textbook one.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import root
from scipy.special import expit, ndtr, ndtri, stdtrit

from ensemble.evaluation.confusion import class_counts, iou_of, mean_present
from ensemble.evaluation.intervals import interval
from ensemble.evaluation.share_differences import ShareDifference, Shares

Floats = NDArray[np.float64]
CLASSES, ROCK, LEVEL = 4, 3, 0.95
IMAGES_PER_GROUP = 3.63  # 690 validation images of the reference problem in 190 groups


@dataclass(frozen=True)
class Scenes:
    """What both systems see: pixels per class, the group of each image, and effects on the logit of the recall."""

    pixels_nk: Floats
    group_n: NDArray[np.intp]
    shared_nk: Floats
    own_snk: Floats
    taste_snk: Floats


def scenes(groups: int, rock_share: float, seed: int, systems: int = 2) -> Scenes:
    """Draw the scenes of a population; ``rock_share`` of the images hold rock, in twice as large a share of groups."""
    random = np.random.default_rng(seed)
    group_n = np.repeat(np.arange(groups), random.geometric(1 / IMAGES_PER_GROUP, groups))
    n = len(group_n)
    base_gk = random.gamma(np.array([1.0, 0.6, 0.7]), size=(groups, 3)) + 1e-3
    base_gk /= base_gk.sum(1, keepdims=True)
    share_nk = random.gamma(6 * base_gk[group_n] + 0.02) + 1e-9
    rock_n = np.minimum(0.6, 0.018 * np.exp(1.6 * random.normal(size=n)))
    rock_n *= (random.random(groups) < 2 * rock_share)[group_n] & (random.random(n) < 0.5)
    labelled_n = 8192 * (0.3 + 0.7 * random.beta(2, 1, n))
    share_nk *= (1 - rock_n)[:, None] / share_nk.sum(1, keepdims=True)
    pixels_nk = np.concatenate([share_nk, rock_n[:, None]], axis=1) * labelled_n[:, None]
    difficulty_nk = random.normal(0, 0.7, (groups, 1))[group_n] + random.normal(0, 0.7, (n, 1))
    difficulty_nk = difficulty_nk + random.normal(0, 0.5, (groups, CLASSES))[group_n]
    own_snk = random.normal(0, 0.3, (systems, groups, CLASSES))[:, group_n]
    own_snk = own_snk + random.normal(0, 0.4, (systems, n, CLASSES))
    taste_snk = random.normal(0, 0.8, (systems, groups, CLASSES))[:, group_n]
    return Scenes(pixels_nk, group_n, difficulty_nk, own_snk, taste_snk)


def confusions(seen: Scenes, system: int, recall_k: Floats, taste_k: Floats) -> Floats:
    """Per-image confusion matrices (n, k, k), in expected pixels, of a system with logits of recall and of taste.

    A pixel of class i is found with the probability of its recall; the others go to class j as exp(taste_j) says.
    """
    found_nk = seen.pixels_nk * expit(recall_k + seen.shared_nk + seen.own_snk[system])
    pull_nk = np.exp(taste_k + seen.taste_snk[system])
    pull_nkk = np.where(np.eye(CLASSES, dtype=bool), 0.0, pull_nk[:, None, :])
    table_nkk = (seen.pixels_nk - found_nk)[:, :, None] * pull_nkk / pull_nkk.sum(2, keepdims=True)
    table_nkk[:, range(CLASSES), range(CLASSES)] = found_nk
    return table_nkk


def group_sums(seen: Scenes, table_nkk: Floats) -> Floats:
    """Hits, union and truth of each class in each group: (groups, k, 3)."""
    parts = class_counts(table_nkk).swapaxes(1, 2)
    return np.add.reduceat(parts, np.flatnonzero(np.diff(seen.group_n, prepend=-1)), axis=0)


TASTE = np.log([0.4, 0.3, 0.3, 0.002])
PAIRS = {  # recall of the second system, and what the first one's recall and taste are apart from it
    "twins": (np.array([2.3, 1.9, 1.6, -0.3]), np.zeros(CLASSES), np.zeros(CLASSES)),
    "blind": (np.array([2.3, 1.9, 1.6, -4.0]), np.zeros(CLASSES), np.zeros(CLASSES)),
    "unlike": (np.array([2.3, 1.9, 1.6, -0.3]), np.array([0.4, 0.0, -0.4, 1.0]), np.array([0.2, 0.0, -0.2, 1.2])),
}


UNEQUAL = {  # logits of the recall of rock, added to those of the first and of the second twin
    "one blind": (0.0, -3.7),
    "one sharp": (1.5, -1.5),
}


def population(world: str, truth: float, rock_share: float, groups: int, seed: int) -> Floats:
    """Sums (groups, systems, k, 3) where mean IoU and IoU of rock of the first system exceed the second's by truth.

    For worlds of `UNEQUAL` there is no such truth.
    """
    seen = scenes(groups, rock_share, seed)
    if world in UNEQUAL:
        recalls = [PAIRS["twins"][0] + more * (np.arange(CLASSES) == ROCK) for more in UNEQUAL[world]]
        return np.stack(
            [group_sums(seen, confusions(seen, s, recall_k, TASTE)) for s, recall_k in enumerate(recalls)], 1
        )
    base_k, recall_k, taste_k = PAIRS[world]
    second = group_sums(seen, confusions(seen, 1, base_k, TASTE))
    goal_k = iou(second.sum(0))

    def first(shifts: Floats) -> Floats:
        shift_k = np.where(np.arange(CLASSES) == ROCK, shifts[1], shifts[0])
        return group_sums(seen, confusions(seen, 0, base_k + recall_k + shift_k, TASTE + taste_k))

    def gap(shifts: Floats) -> Floats:
        difference_k = iou(first(shifts).sum(0)) - goal_k - truth
        return np.array([difference_k.mean(), difference_k[ROCK]])

    solved = root(gap, np.zeros(2), tol=1e-10)
    if np.abs(gap(solved.x)).max() > 1e-9:
        raise RuntimeError(f"no shift makes {world} differ by {truth}: {solved.message}")
    return np.stack([first(solved.x), second], axis=1)


def iou(sums: Floats) -> Floats:
    """IoU from (..., k, 3) sums of hits, union and truth."""
    return iou_of(sums.swapaxes(-1, -2))


SCORES = ("difference in mIoU", "difference in rock IoU")


def score(sums: Floats) -> Floats:
    """The two ``SCORES`` (2, ...) from sums (..., systems, k, 3)."""
    iou_sk = iou(sums)
    both_s = np.stack([mean_present(iou_sk), iou_sk[..., ROCK]])
    return both_s[..., 0] - both_s[..., 1]


def student(freedom_w: Floats) -> Floats:
    """The t quantile of the upper side."""
    return stdtrit(freedom_w, np.full_like(freedom_w, (1 + LEVEL) / 2))


def limits(sums_wg: Floats, counts_bg: Floats) -> dict[str, Floats]:
    """Every interval of all scores in each world: name to (2 scores, 2 limits, worlds).

    Args:
        sums_wg: (worlds, groups, systems, k, 3).
        counts_bg: resamples.
    """
    worlds, groups = sums_wg.shape[:2]
    flat_gv = np.ascontiguousarray(sums_wg.swapaxes(0, 1)).reshape(groups, -1)
    totals_w = sums_wg.sum(1)
    estimate_sw, left_out_swg = score(totals_w), score(totals_w[:, None] - sums_wg)
    samples_sbw = score((counts_bg @ flat_gv).reshape(-1, *totals_w.shape))
    full_w, sides = np.full(worlds, groups - 1.0), np.array([[-1], [1]])
    used_sw = np.array([logit_limits(sums_g) for sums_g in sums_wg]).transpose(1, 2, 0)
    found: dict[str, list[Floats]] = {}
    for s in range(len(SCORES)):
        jack_error_w = np.nanstd(left_out_swg[s], axis=1) * np.sqrt(groups - 1)
        mine = {
            "percentile": resampled(samples_sbw[s], [None] * worlds),
            "bca": accelerated(samples_sbw[s], estimate_sw[s], left_out_swg[s]),
            "jackknife-t": estimate_sw[s] + sides * student(full_w) * jack_error_w,
            "expanded-df": resampled(samples_sbw[s], list(left_out_swg[s])),
            "logits": used_sw[s],
        }
        for name, pair in mine.items():
            found.setdefault(name, []).append(pair)
    return {name: np.stack(pairs) for name, pairs in found.items()}


def logit_limits(sums_g: Floats) -> list[tuple[float, float]]:
    """The package's intervals of both scores in one world, from sums (groups, systems, k, 3)."""
    whole_sk, left_out_gsk = iou(sums_g.sum(0)), iou(sums_g.sum(0) - sums_g)
    holders_sk = (sums_g[..., 2] > 0).sum(0)
    one, other = (Shares(whole_sk[s], left_out_gsk[:, s], holders_sk[s]) for s in range(2))
    pairs = (ShareDifference(one, other), ShareDifference(one.only(ROCK), other.only(ROCK)))
    found = [pair.interval(LEVEL) for pair in pairs]
    return [(limit.low, limit.high) for limit in found]


def resampled(samples_bw: Floats, left_out_wg: list[Floats] | list[None]) -> Floats:
    """Intervals of the package from resamples; without left-out scores the textbook percentile interval."""
    pairs = [
        interval(samples_b, LEVEL, left_out_g=left_out_g)
        for samples_b, left_out_g in zip(samples_bw.T, left_out_wg, strict=True)
    ]
    return np.array([(pair.low, pair.high) for pair in pairs]).T


def quantiles(samples_bw: Floats, shares_2w: Floats) -> Floats:
    """For each world (column) the quantiles at its shares; NaN is left out."""
    columns = zip(samples_bw.T, shares_2w.T, strict=True)
    return np.array([np.nanquantile(column, shares) for column, shares in columns]).T


def accelerated(samples_bw: Floats, estimate_w: Floats, left_out_wg: Floats) -> Floats:
    """BCa, Efron 1987; the acceleration from the scores without each group."""
    below_w = (samples_bw < estimate_w).mean(0) + 0.5 * (samples_bw == estimate_w).mean(0)
    bias_w = ndtri(np.clip(below_w, 1e-3, 1 - 1e-3))
    influence_wg = np.nan_to_num(np.nanmean(left_out_wg, axis=1, keepdims=True) - left_out_wg)
    influence_wg /= np.maximum(np.abs(influence_wg).max(axis=1, keepdims=True), 1e-30)  # cubes of tiny changes vanish
    cube_w, square_w = (influence_wg**3).sum(1), (influence_wg**2).sum(1)
    skew_w = np.divide(cube_w, 6 * square_w**1.5, out=np.zeros_like(cube_w), where=square_w > 0)
    z = float(ndtri((1 + LEVEL) / 2))
    shares = [ndtr(bias_w + (bias_w + side) / (1 - skew_w * (bias_w + side))) for side in (-z, z)]
    return quantiles(samples_bw, np.stack(shares))


SETTINGS = [  # share of the images with rock, groups
    *((0.02, groups) for groups in (190, 60)),
    *((0.1, groups) for groups in (190, 40)),
    *((0.4, groups) for groups in (190, 15, 10, 7, 5)),
]
HELD_BY = (1, 2, 3, 5, 10, 20, 40, 80)  # lower edges of the bins of groups with rock


def measure(people: Floats, groups: int, simulations: int, resamples: int, seed: int) -> dict[str, Floats]:
    """Intervals in random worlds, name to (scores, 2 limits, worlds); ``holders`` are the groups with rock."""
    random = np.random.default_rng(seed)
    found: dict[str, list[Floats]] = {}
    step = 50  # worlds that share their resamples
    for _ in range(0, simulations, step):
        sums_wg = people[random.integers(len(people), size=(step, groups))]
        counts_bg = random.multinomial(groups, np.full(groups, 1 / groups), size=resamples).astype(np.float64)
        holders_w = (sums_wg[:, :, 0, ROCK, 2] > 0).sum(1)
        if not (holders_w > 0).any():
            continue
        for name, pair in limits(sums_wg[holders_w > 0], counts_bg).items():
            found.setdefault(name, []).append(pair)
        found.setdefault("holders", []).append(holders_w[holders_w > 0].astype(np.float64))
    return {name: np.concatenate(parts, axis=-1) for name, parts in found.items()}


def rates(low_w: Floats, high_w: Floats, truth: float) -> dict[str, Any]:
    """Shares of the worlds whose interval lies above, below, or not around the truth, and above zero."""
    n = len(low_w)
    high, low = float((low_w > truth).mean()), float((high_w < truth).mean())
    misses = high + low
    return {
        "worlds": n,
        "too_high": round(high, 5),
        "too_low": round(low, 5),
        "misses": round(misses, 5),
        "standard_error": round(float(np.sqrt(misses * (1 - misses) / n)), 5),
        "above_zero": round(float((low_w > 0).mean()), 5),
        "median_width_points": round(float(100 * np.median(high_w - low_w)), 3),
    }


def rows_of(found: dict[str, Floats], truths: Floats) -> Iterator[dict[str, Any]]:
    """A row per score and interval; scores of rock only in worlds where a group holds any, in total and by how many."""
    holders_w = found["holders"]
    for name, limits_s2w in found.items():
        for s, label in enumerate(SCORES) if name != "holders" else ():
            truth, (low_w, high_w) = float(truths[s]), limits_s2w[s]
            kept_w = np.isfinite(low_w + high_w)
            row = {"score": label, "truth_points": round(100 * truth, 3), "interval": name}
            yield row | rates(low_w[kept_w], high_w[kept_w], truth) | {"groups_with_rock": "any"}
            by_holders = name in ("expanded-df", "logits")
            for low, high in zip(HELD_BY, (*HELD_BY[1:], np.inf), strict=True) if by_holders else ():
                bin_w = kept_w & (holders_w >= low) & (holders_w < high)
                if bin_w.sum() >= 100:
                    held = {"groups_with_rock": f"{low} to {high - 1:.0f}"}
                    yield row | rates(low_w[bin_w], high_w[bin_w], truth) | held


def main() -> None:
    """Measure every setting and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=500, help="per world; the verdict itself takes 10,000")
    parser.add_argument("--people", type=int, default=15_000, help="groups in a population")
    parser.add_argument("--seed", type=int, default=0)
    plan = parser.parse_args()
    common = {"simulations": plan.simulations, "resamples": plan.resamples, "population_groups": plan.people}
    common |= {"seed": plan.seed, "level": LEVEL, "command": "python " + " ".join(sys.argv)}
    rows: list[dict[str, Any]] = []
    warnings.filterwarnings("ignore", "(Mean of empty|Degrees of freedom|All-NaN)")  # where one group holds all rock
    for share, groups in SETTINGS:
        for world in (*PAIRS, *UNEQUAL):
            for gain in (0.0, 0.01)[: 2 if share == 0.02 and world in PAIRS else 1]:
                people = population(world, gain, share, plan.people, plan.seed)
                start = time.process_time()
                found = measure(people, groups, plan.simulations, plan.resamples, plan.seed + 1)
                seconds = {"cpu_seconds": round(time.process_time() - start, 1)}
                where = {"world": world, "images_with_rock": share, "groups": groups}
                truths = score(people.sum(0))
                if world in PAIRS:
                    truths[:] = gain  # without a last rounding error, which a limit of exactly 0 would miss
                rows += [where | row | common | seconds for row in rows_of(found, truths)]
                pd.DataFrame(rows).to_csv(plan.out, index=False)
                print(where, seconds, flush=True)


if __name__ == "__main__":
    main()

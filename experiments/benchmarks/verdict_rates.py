"""How often the verdict is wrong: false alarms, coverage and power of its intervals where the truth is planted.

Usage: python experiments/benchmarks/verdict_rates.py --out experiments/results/verdict-rates.csv
A population of ``planted_scenes.py`` is made once, and a world is a few of its groups, drawn at random. Worlds without
rock are left out (an IoU of rock has no meaning there). One row per world, truth, share of images with rock, number of
groups, score and interval. The package's interval of a difference is
"logits"; "expanded-df" is that of other scores, used for differences before; "percentile" is the textbook one.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from planted_scenes import PAIRS, ROCK, UNEQUAL, iou, population
from scipy.special import ndtr, ndtri, stdtrit

from ensemble.evaluation.confusion import mean_present
from ensemble.evaluation.intervals import interval
from ensemble.evaluation.share_differences import ShareDifference
from ensemble.evaluation.shares import Shares

Floats = NDArray[np.float64]
LEVEL = 0.95


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

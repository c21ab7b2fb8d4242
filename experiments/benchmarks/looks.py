"""How often a win is claimed when many variants are looked at on one split, and how often a true gain is found.

Usage: python experiments/benchmarks/looks.py --out experiments/results/looks.csv
Planted scenes (those of verdict_rates.py) with rock in a tenth of the groups; the baseline and 88 variants are judged
on the same groups by the product's own intervals. "null": all 89 systems are equally good; in every group their tables
are permuted at random, so that any claimed win over the baseline is false. "gain": the same, and one variant is better
than the baseline by 3 points of mIoU. Variants of one ensemble resemble each other, so their own part of the logits of
recall and taste is a share of that of unlike systems ("unlikeness"; 1 for networks trained apart). Corrections: "none"
judges every variant alone at 95 % (as one `ens combine` after another does), "bonferroni" at 1 - 0.05 / 88 (as
`--all-methods` did), "max-t" is `joint_level` (as it does now). One row per unlikeness,
number of groups, correction and world.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import root_scalar
from verdict_rates import PAIRS, TASTE, confusions, scenes

from ensemble.evaluation.confusion import class_counts, iou_of, mean_present
from ensemble.evaluation.joint import joint_level
from ensemble.evaluation.paired import Draws, PairedDifference
from ensemble.evaluation.share_differences import ShareDifference, Shares

VARIANTS, ERROR, ROCK_SHARE = 88, 0.05, 0.05
SETTINGS = ((0.3, 40), (0.3, 190), (1.0, 190))  # unlikeness, groups
Tables = NDArray[np.int64]


def population(groups: int, unlikeness: float, gain: float, seed: int) -> Tables:
    """Confusion matrices (groups, systems, k, k): the baseline, the variants, and one that is better by ``gain``."""
    seen = scenes(groups, ROCK_SHARE, seed, systems=VARIANTS + 2)
    shrunk = replace(seen, own_snk=unlikeness * seen.own_snk, taste_snk=unlikeness * seen.taste_snk)
    starts = np.flatnonzero(np.diff(seen.group_n, prepend=-1))

    def tables(system: int, more: float) -> NDArray[np.float64]:
        return np.add.reduceat(confusions(shrunk, system, PAIRS["twins"][0] + more, TASTE), starts)

    made = [tables(system, 0.0) for system in range(VARIANTS + 1)]
    goal = np.mean([miou(each) for each in made]) + gain
    solved = root_scalar(lambda more: miou(tables(VARIANTS + 1, more)) - goal, bracket=(0.0, 3.0), xtol=1e-4)
    return np.rint(np.stack([*made, tables(VARIANTS + 1, solved.root)], axis=1)).astype(np.int64)


def miou(tables_gkk: NDArray[Any]) -> float:
    """Mean IoU of one system."""
    table_kk = tables_gkk.sum(0)
    diagonal_k = np.diagonal(table_kk)
    return float(np.mean(diagonal_k / (table_kk.sum(0) + table_kk.sum(1) - diagonal_k)))


def gains(tables_gskk: Tables, draws: Draws) -> list[PairedDifference]:
    """Each system minus the first one, as `Draws.iou` and `SampledScores.minus` make it, all systems in one product."""
    counts_gs3k = class_counts(tables_gskk)
    whole_sk, left_out_gsk = iou_of(counts_gs3k.sum(0)), iou_of(draws.left_out.totals(counts_gs3k))
    samples_bs = mean_present(iou_of(draws.resamples.totals(counts_gs3k)))
    holders_k = (counts_gs3k[:, 0, 2] > 0).sum(0)
    shares = [Shares(whole_sk[s], left_out_gsk[:, s], holders_k) for s in range(len(whole_sk))]
    whole_s, left_out_gs = mean_present(whole_sk), mean_present(left_out_gsk)
    return [
        PairedDifference(
            float(whole_s[s] - whole_s[0]),
            samples_bs[:, s] - samples_bs[:, 0],
            left_out_gs[:, s] - left_out_gs[:, 0],
            ShareDifference(shares[s], shares[0]),
        )
        for s in range(1, len(whole_s))
    ]


def wins(found: list[PairedDifference]) -> dict[str, tuple[float, list[bool]]]:
    """The level of each correction, and for each variant whether a win is claimed."""
    levels = {"none": 1 - ERROR, "bonferroni": 1 - ERROR / len(found), "max-t": joint_level(found, ERROR)}
    # No interval of 95 % lies above zero whose difference is below 1.2 standard errors, so most need no interval.
    hopeful = [one.estimate > 1.2 * float(one.samples_b.std()) for one in found]
    return {
        name: (level, [hope and one.interval(level).low > 0 for hope, one in zip(hopeful, found, strict=True)])
        for name, level in levels.items()
    }


def measure(everyone: Tables, groups: int, plan: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rates of both worlds for every correction."""
    random, names = np.random.default_rng(plan.seed + 1), [f"{g:04d}" for g in range(groups)]
    seen: dict[tuple[str, str], list[tuple[bool, float]]] = {}
    for world in range(plan.worlds):
        tables_gskk = everyone[random.integers(len(everyone), size=groups)]
        order_gs = random.permuted(np.tile(np.arange(VARIANTS + 1), (groups, 1)), axis=1)
        tables_gskk[:, : VARIANTS + 1] = tables_gskk[np.arange(groups)[:, None], order_gs]
        found = gains(tables_gskk, Draws.of(names, resamples=plan.resamples, seed=world))
        for name, (level, won) in wins(found[:-1]).items():
            seen.setdefault(("null", name), []).append((any(won), level))
        for name, (level, won) in wins([*found[:-2], found[-1]]).items():
            seen.setdefault(("gain", name), []).append((won[-1], level))
    rows: list[dict[str, Any]] = []
    for (world, name), each in seen.items():
        share = float(np.mean([hit for hit, _ in each]))
        spread = round(float(np.sqrt(share * (1 - share) / len(each))), 5)
        level = round(float(np.mean([level for _, level in each])), 5)
        rows.append({"world": world, "correction": name, "claimed": share, "standard_error": spread, "level": level})
    return rows


def main() -> None:
    """Measure every row and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--worlds", type=int, default=1000)
    parser.add_argument("--gain", type=float, default=0.03, help="of the better variant, in mIoU")
    parser.add_argument("--resamples", type=int, default=500, help="per world; `combine` takes 10,000")
    parser.add_argument("--people", type=int, default=3000, help="groups in a population")
    parser.add_argument("--seed", type=int, default=0)
    plan = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for unlikeness, groups in SETTINGS:
        start = time.process_time()
        found = measure(population(plan.people, unlikeness, plan.gain, plan.seed), groups, plan)
        common = {"variants": VARIANTS, "unlikeness": unlikeness, "gain": plan.gain, "groups": groups}
        more = {"worlds": plan.worlds, "resamples": plan.resamples, "population_groups": plan.people}
        more |= {"seed": plan.seed, "command": "python " + " ".join(sys.argv)}
        more |= {"cpu_seconds": round(time.process_time() - start, 1)}
        rows += [common | row | more for row in found]
        pd.DataFrame(rows).to_csv(plan.out, index=False)
        print(pd.DataFrame(found), more["cpu_seconds"], flush=True)


if __name__ == "__main__":
    main()

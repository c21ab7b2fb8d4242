"""How often a win is claimed when many variants are looked at on one split, and how often a true gain is found.

Usage: python experiments/benchmarks/looks.py --out experiments/results/looks.csv
Planted scenes (those of planted_scenes.py) with rock in a tenth of the groups. The best member, the average and 88
variants are judged on the same groups by the product's own intervals. "equal": all 90 systems are equally good; in
every group their tables are permuted at random, so that any claimed win over the average is false. "gain": the same,
and one variant is better than the others by 3 points of mIoU. Variants of one ensemble resemble each other, so their
own part of the logits of recall and taste is a share of that of unlike systems ("unlikeness"). Corrections: "none"
judges every variant alone at 95 % (as one `ens combine` after another does), "bonferroni" at 1 - 0.05 / 88 (as
`--all-methods` did), "max-t" is the `joint_level` of all differences to the average and to the best member (as
`--all-methods` does now), "max-t, average alone" that of the differences to the average.
One row per number of groups, correction and world.
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
from planted_scenes import PAIRS, TASTE, confusions, scenes
from scipy.optimize import root_scalar

from ensemble.evaluation.confusion import class_counts, iou_of, mean_present
from ensemble.evaluation.joint import joint_level
from ensemble.evaluation.paired import Draws, PairedDifference
from ensemble.evaluation.share_differences import ShareDifference
from ensemble.evaluation.shares import Shares

VARIANTS, ERROR, ROCK_SHARE = 88, 0.05, 0.05
SETTINGS = ((0.3, 40), (0.3, 190))  # unlikeness, groups
Tables = NDArray[np.int64]


def population(groups: int, unlikeness: float, gain: float, seed: int) -> Tables:
    """Confusion matrices (groups, systems, k, k): the baseline, the variants, and one that is better by ``gain``."""
    seen = scenes(groups, ROCK_SHARE, seed, systems=VARIANTS + 3)
    shrunk = replace(seen, own_snk=unlikeness * seen.own_snk, taste_snk=unlikeness * seen.taste_snk)
    starts = np.flatnonzero(np.diff(seen.group_n, prepend=-1))

    def tables(system: int, more: float) -> NDArray[np.float64]:
        return np.add.reduceat(confusions(shrunk, system, PAIRS["twins"][0] + more, TASTE), starts)

    made = [tables(system, 0.0) for system in range(VARIANTS + 2)]
    goal = np.mean([miou(each) for each in made]) + gain
    solved = root_scalar(lambda more: miou(tables(VARIANTS + 2, more)) - goal, bracket=(0.0, 3.0), xtol=1e-4)
    return np.rint(np.stack([*made, tables(VARIANTS + 2, solved.root)], axis=1)).astype(np.int64)


def miou(tables_gkk: NDArray[Any]) -> float:
    """Mean IoU of one system."""
    table_kk = tables_gkk.sum(0)
    diagonal_k = np.diagonal(table_kk)
    return float(np.mean(diagonal_k / (table_kk.sum(0) + table_kk.sum(1) - diagonal_k)))


def gains(tables_gskk: Tables, draws: Draws, base: int) -> list[PairedDifference]:
    """Each system but ``base`` minus it, as `Draws.iou` and `SampledScores.minus` do, all systems in one product."""
    counts_gs3k = class_counts(tables_gskk)
    whole_sk, left_out_gsk = iou_of(counts_gs3k.sum(0)), iou_of(draws.left_out.totals(counts_gs3k))
    samples_bs = mean_present(iou_of(draws.resamples.totals(counts_gs3k)))
    holders_k = (counts_gs3k[:, 0, 2] > 0).sum(0)
    shares = [Shares(whole_sk[s], left_out_gsk[:, s], holders_k) for s in range(len(whole_sk))]
    whole_s, left_out_gs = mean_present(whole_sk), mean_present(left_out_gsk)
    return [
        PairedDifference(
            float(whole_s[s] - whole_s[base]),
            samples_bs[:, s] - samples_bs[:, base],
            left_out_gs[:, s] - left_out_gs[:, base],
            ShareDifference(shares[s], shares[base]),
        )
        for s in range(len(whole_s))
        if s != base
    ]


def levels_of(found: list[PairedDifference], to_best: list[PairedDifference]) -> dict[str, float]:
    """The level of each correction; the table of `--all-methods` shows the differences to the best member, too."""
    return {
        "none": 1 - ERROR,
        "bonferroni": 1 - ERROR / len(found),
        "max-t": joint_level([*found, *to_best], ERROR),
        "max-t, average alone": joint_level(found, ERROR),
    }


def wins(difference: PairedDifference, levels: dict[str, float]) -> dict[str, bool]:
    """Whether a win is claimed, by correction."""
    # No interval of 95 % lies above zero whose difference is below 1.2 standard errors, so most need no interval.
    hope = difference.estimate > 1.2 * float(difference.samples_b.std()) and difference.interval(1 - ERROR).low > 0
    return {name: hope and difference.interval(level).low > 0 for name, level in levels.items()}


def measure(everyone: Tables, groups: int, plan: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rates of both worlds for every correction; the better variant takes the place of the last one."""
    random, names = np.random.default_rng(plan.seed + 1), [f"{g:04d}" for g in range(groups)]
    seen: dict[tuple[str, str], list[tuple[bool, float]]] = {}
    for world in range(plan.worlds):
        tables_gskk = everyone[random.integers(len(everyone), size=groups)]
        order_gs = random.permuted(np.tile(np.arange(VARIANTS + 2), (groups, 1)), axis=1)
        tables_gskk[:, : VARIANTS + 2] = tables_gskk[np.arange(groups)[:, None], order_gs]
        draws = Draws.of(names, resamples=plan.resamples, seed=world)
        _, *found = gains(tables_gskk, draws, 1)  # of the variants and the better one, over the average
        _, *to_best = gains(tables_gskk, draws, 0)
        levels = levels_of(found[:-1], to_best[:-1])
        claims = [wins(one, levels) for one in found[:-1]]
        better = levels_of([*found[:-2], found[-1]], [*to_best[:-2], to_best[-1]])
        claimed = wins(found[-1], better)
        for name in levels:
            seen.setdefault(("equal", name), []).append((any(each[name] for each in claims), levels[name]))
            seen.setdefault(("gain", name), []).append((claimed[name], better[name]))
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

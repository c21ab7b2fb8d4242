"""How often the advice of the verdict states something false, and how often it finds what is true.

Usage: python experiments/benchmarks/advice_rates.py --out experiments/results/advice-rates.csv
Five members, their average and a method on planted scenes (those of planted_scenes.py), judged by the product's own
`judge`. Rock is in a tenth of the groups. In every group the tables of systems that are equally good are permuted at
random, which makes them exchangeable: whatever the advice states about these is false, and "false_claims" counts the
texts with any such statement. "nothing differs" permutes all seven systems. In "ensembles are better" average and
method are exchangeable and better than the members; in "only the method is better" the average is exchangeable with the
members; in "each is better" only the members are exchangeable, so that a false statement names the worse of two. The
best member is picked as `combine` picks it: on the other folds for one of the two comparisons, on all images for the
other. One row per world and number of groups.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from planted_scenes import PAIRS, TASTE, confusions, scenes

from ensemble.combining.by_fold import best_elsewhere
from ensemble.combining.verdict import Verdict, judge
from ensemble.evaluation.confusion import mean_iou

MEMBERS, FOLDS = 5, 5
CLASSES = ("soil", "bedrock", "sand", "rock")
ROCK_SHARE = 0.05  # of the images; a tenth of the groups hold rock
GROUPS = (15, 40, 146)
WORLDS = {  # logits of recall above those of the members: average and method; sets of exchangeable systems
    "nothing differs": ((0.0, 0.0), [range(7)]),
    "ensembles are better": ((0.3, 0.3), [range(5), (5, 6)]),
    "only the method is better": ((0.0, 0.3), [range(6)]),
    "each is better": ((0.3, 0.6), [range(5)]),
}
Tables = NDArray[np.int64]


def population(gains: tuple[float, float], groups: int, seed: int) -> Tables:
    """Confusion matrices (groups, systems, k, k) in pixels: five members, the average, the method."""
    seen = scenes(groups, ROCK_SHARE, seed, systems=MEMBERS + 2)
    starts = np.flatnonzero(np.diff(seen.group_n, prepend=-1))
    recalls = [PAIRS["twins"][0] + gain for gain in (*[0.0] * MEMBERS, *gains)]
    tables = [np.add.reduceat(confusions(seen, s, recall_k, TASTE), starts) for s, recall_k in enumerate(recalls)]
    return np.rint(np.stack(tables, axis=1)).astype(np.int64)


def verdict_of(tables_gskk: Tables, random: np.random.Generator, resamples: int) -> Verdict:
    """Judge one data set as `combine` does, with a group as one image."""
    groups = len(tables_gskk)
    members_mgkk, average, method = tables_gskk[:, :MEMBERS].swapaxes(0, 1), *tables_gskk[:, MEMBERS:].swapaxes(0, 1)
    fold_g = random.permutation(np.arange(groups) % FOLDS)
    picked_g = best_elsewhere(members_mgkk, fold_g, lambda some: mean_iou(some.sum(1)))
    systems = {
        "method": method,
        "average": average,
        "best member": members_mgkk[picked_g, np.arange(groups)],
        "member": members_mgkk[int(mean_iou(members_mgkk.sum(1)).argmax())],
    }
    return judge("learned", "unet-ce", systems, [f"{g:04d}" for g in range(groups)], CLASSES, resamples=resamples)


def measure(world: str, groups: int, simulations: int, resamples: int, people: int, seed: int) -> dict[str, Any]:
    """Return the rates of one row."""
    gains, alike = WORLDS[world]
    everyone, random = population(gains, people, seed), np.random.default_rng(seed + 1)
    rank = {"member": 0.0, "average": gains[0], "method": gains[1]}
    false, uses, proven = 0, list[str](), list[tuple[str, str]]()
    for _ in range(simulations):
        tables_gskk = everyone[random.integers(people, size=groups)]
        for systems in alike:
            places = np.array(systems)
            order_gs = random.permuted(np.tile(places, (groups, 1)), axis=1)
            tables_gskk[:, places] = tables_gskk[np.arange(groups)[:, None], order_gs]
        found = verdict_of(tables_gskk, random, resamples)
        if bool(found.proven) != ("is better than" in found.advice):
            raise RuntimeError(f"the text does not state what is proven: {found.advice}")
        false += any(rank[better] <= rank[worse] for better, worse in found.proven)
        uses.append(found.use)
        proven += found.proven
    rate = false / simulations
    error = np.sqrt(rate * (1 - rate) / simulations)
    row: dict[str, Any] = {"false_claims": round(rate, 5), "standard_error": round(float(error), 5)}
    row |= {f"use_{name}": round(uses.count(name) / simulations, 5) for name in rank}
    pairs = [("average", "member"), ("method", "member"), ("method", "average")]
    return row | {f"proven_{a}_over_{b}": round(proven.count((a, b)) / simulations, 5) for a, b in pairs}


def main() -> None:
    """Measure every row and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--simulations", type=int, default=500)
    parser.add_argument("--resamples", type=int, default=50, help="per verdict; intervals of mIoU need none")
    parser.add_argument("--people", type=int, default=10_000, help="groups in a population")
    parser.add_argument("--seed", type=int, default=0)
    plan = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for world in WORLDS:
        for groups in GROUPS:
            start = time.process_time()
            found = measure(world, groups, plan.simulations, plan.resamples, plan.people, plan.seed)
            common = {"rock_in_share_of_groups": 2 * ROCK_SHARE, "population_groups": plan.people, "seed": plan.seed}
            common |= {"simulations": plan.simulations, "resamples": plan.resamples}
            common |= {"command": "python " + " ".join(sys.argv), "cpu_seconds": round(time.process_time() - start, 1)}
            rows.append({"world": world, "groups": groups} | found | common)
            pd.DataFrame(rows).to_csv(plan.out, index=False)
            print(rows[-1], flush=True)


if __name__ == "__main__":
    main()

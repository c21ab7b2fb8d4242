"""Whether promises about new groups of images hold: a share of errors among the kept pixels, and class sets.

Usage: python experiments/benchmarks/promises.py --out experiments/results/promises.csv
Pixels of four classes have true probabilities: the softmax of normal logits and the log shares of the classes, sharper
or less sharp by group. What the network says differs from them: it is over-confident by a power ("temperature" below
1), and each group has a power and a shift per class besides, with the deviation "unlikeness". Labels are drawn from the
true probabilities. The last class is in 40 % of the groups only. In each of many splits some groups are seen, the
product chooses its thresholds on them, and all other groups of the population are judged.

Rows "abstain": the share of wrong pixels among those kept, of all other groups together. Rows "sets": the share of the
pixels of a class whose set holds it, as the mean over the other groups that hold the class. Rules: "worst seen" is the
product's; "nothing" takes the next group for an average one; "worst possible" takes it for one where every pixel is
wrong or missed, which is true without any assumption. "of" is the confidence, or the class. Means, quantiles and
extremes are those over the splits in which something is promised; "refused" is the share of the others.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ensemble.evaluation.promises import NEAR_ONE, NEAR_ZERO, GroupCounts, abstain, cover, fewest_groups

CLASSES, SHARES, HELD = ("soil", "bedrock", "sand", "rock"), (0.55, 0.30, 0.12, 0.03), 0.4
ERROR, COVERAGE = 0.05, 0.9
WORLDS = ((0.0, 1.0), (0.15, 1.0), (0.3, 1.0), (0.15, 0.8))  # unlikeness, temperature
GROUPS = (9, 10, 20, 40, 100)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Population:
    """Counts of all groups: of right and wrong pixels by each confidence, and of the true ones of each class."""

    sides: dict[str, tuple[GroupCounts, GroupCounts]]
    true_c: tuple[GroupCounts, ...]
    pixels_g: NDArray[np.int64]


def population(groups: int, pixels: int, unlikeness: float, temperature: float, seed: int) -> Population:
    """Draw groups of images and what a network says about them."""
    random, classes = np.random.default_rng(seed), len(SHARES)
    sides = {name: (GroupCounts(NEAR_ONE), GroupCounts(NEAR_ONE)) for name in ("probability", "margin")}
    true_c, pixels_g = tuple(GroupCounts(NEAR_ZERO) for _ in SHARES), np.zeros(groups, np.int64)
    for group in range(groups):
        pixels_g[group] = count = max(50, int(pixels * np.exp(0.5 * random.normal())))
        log_share = np.log(SHARES) + np.array([0.0, 0.0, 0.0, 0.0 if random.random() < HELD else -30.0])
        said = 3.2 * np.exp(0.2 * random.normal()) * random.normal(size=(classes, count)) + log_share[:, None]
        true = temperature * np.exp(unlikeness * random.normal()) * said
        true += unlikeness * random.normal(size=(classes, 1))
        said_p, true_p = softmax(said), softmax(true)
        labels = (random.random(count) > true_p.cumsum(0)[:-1]).sum(0)
        first, second = -np.sort(-said_p, axis=0)[:2]
        right = said_p.argmax(0) == labels
        for name, sure in (("probability", first), ("margin", first - second)):
            sides[name][0].add(group, sure[right])
            sides[name][1].add(group, sure[~right])
        for place, counts in enumerate(true_c):
            counts.add(group, said_p[place, labels == place])
    return Population(sides, true_c, pixels_g)


def softmax(logits: Floats) -> NDArray[np.float32]:
    """Return probabilities (classes, pixels)."""
    exp = np.exp(logits - logits.max(0))
    return (exp / exp.sum(0)).astype(np.float32)


def kept_below(excess_gt: Floats, more_t: Any, some_t: Any = True) -> NDArray[np.bool_]:
    """Return at which thresholds the excess of the groups seen, and of one more, is at most 0."""
    return (excess_gt.sum(0) + more_t <= 1e-9) & some_t


def abstaining(world: Population, seen: Sequence[int], others: NDArray[np.intp], totals: Any) -> dict[Any, Any]:
    """Return error and share of the kept pixels of the other groups by rule and confidence; None if refused."""
    found: dict[Any, Any] = {}
    for name, sides in world.sides.items():
        right, wrong = (side.of(seen) for side in sides)
        places: dict[str, int | None] = {}
        least = abstain(right, wrong, ERROR).threshold
        places["worst seen"] = None if least is None else int(np.searchsorted(NEAR_ONE, np.float32(least)))
        if name == "probability" and len(seen) >= fewest_groups(0.5):
            wrong_gt = wrong.reaching(list(seen))
            kept_gt = right.reaching(list(seen)) + wrong_gt
            excess_gt, some_t = wrong_gt - ERROR * kept_gt, (kept_gt > 0).sum(0) >= fewest_groups(0.5)
            largest = (1 - ERROR) * world.pixels_g[list(seen)].max()
            for rule, more in (("nothing", 0.0), ("worst possible", largest)):
                fine_t = kept_below(excess_gt, more, some_t)
                places[rule] = int(fine_t.argmax()) if fine_t.any() else None
        for rule, place in places.items():
            kept, bad = (total[others].sum(0) for total in totals[name])
            found[rule, name] = None if place is None else (bad[place] / max(1, kept[place]), kept[place] / kept[0])
    return found


def covering(world: Population, seen: Sequence[int], others: NDArray[np.intp], totals: Any) -> dict[Any, Any]:
    """Return the coverage of each class in the other groups by rule; None if refused."""
    found: dict[Any, Any] = {}
    for name, counts, reaching_gt in zip(CLASSES, world.true_c, totals["true"], strict=True):
        true = counts.of(seen)
        least = cover(true, COVERAGE).threshold
        places: dict[str, int | None] = {"worst seen": None}
        if least is not None:
            places["worst seen"] = int(np.searchsorted(NEAR_ZERO, np.float32(least)))
            mine_gt = true.reaching(true.groups)
            excess_gt = 1 - mine_gt / mine_gt[:, :1] - (1 - COVERAGE)
            for rule, more in (("nothing", 0.0), ("worst possible", COVERAGE)):
                places[rule] = int(np.flatnonzero(kept_below(excess_gt, more))[-1])
        holders = others[reaching_gt[others, 0] > 0]
        for rule, place in places.items():
            share = None if place is None else (reaching_gt[holders, place] / reaching_gt[holders, 0]).mean()
            found[rule, name] = None if share is None else (share, np.nan)
    return found


def summary(values: Sequence[Any], promised: float) -> dict[str, Any]:
    """Return the columns that describe the splits."""
    kept = np.array([value for value in values if value is not None], np.float64).reshape(-1, 2)
    row: dict[str, Any] = {"promised": promised, "refused": 1 - len(kept) / len(values)}
    if len(kept):
        one, share = kept.T
        row |= {"mean": one.mean(), "deviation": one.std(), "lowest": one.min(), "highest": one.max()}
        row |= {"percentile_1": np.quantile(one, 0.01), "percentile_99": np.quantile(one, 0.99)}
        if not np.isnan(share).any():  # pixels that keep a class
            row |= {"above_7": (one > 0.07).mean(), "kept": share.mean()}
    return row


def measure(unlikeness: float, temperature: float, plan: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows of one kind of world."""
    world = population(plan.people, plan.pixels, unlikeness, temperature, plan.seed)
    everyone, random = list(range(plan.people)), np.random.default_rng(plan.seed + 1)
    totals: dict[str, Any] = {"true": [counts.reaching(everyone) for counts in world.true_c]}
    for name, (right, wrong) in world.sides.items():
        bad = wrong.reaching(everyone)
        totals[name] = right.reaching(everyone) + bad, bad
    kept, bad = totals["probability"]
    rows: list[dict[str, Any]] = []
    for groups in GROUPS:
        found: dict[Any, list[Any]] = {}
        for _ in range(plan.splits):
            order = random.permutation(plan.people)
            seen, others = order[:groups].tolist(), order[groups:]
            for kind, judge in (("abstain", abstaining), ("sets", covering)):
                for (rule, name), value in judge(world, seen, others, totals).items():
                    found.setdefault((kind, rule, name), []).append(value)
        for (kind, rule, name), each in found.items():
            row: dict[str, Any] = {"kind": kind, "unlikeness": unlikeness, "temperature": temperature}
            row |= {"groups": groups, "rule": rule, "of": name, "all_wrong": bad[:, 0].sum() / kept[:, 0].sum()}
            values = each + [None] * (plan.splits - len(each))  # rules that are not tried where the product refuses
            rows.append(row | summary(values, ERROR if kind == "abstain" else COVERAGE))
    return rows


def main() -> None:
    """Measure every row and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--splits", type=int, default=1000)
    parser.add_argument("--people", type=int, default=600, help="groups in a population")
    parser.add_argument("--pixels", type=int, default=400, help="of a group; the median")
    parser.add_argument("--seed", type=int, default=0)
    plan = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for unlikeness, temperature in WORLDS:
        start = time.process_time()
        found = measure(unlikeness, temperature, plan)
        more = {"splits": plan.splits, "population_groups": plan.people, "seed": plan.seed}
        more |= {"cpu_seconds": round(time.process_time() - start, 1), "command": "python " + " ".join(sys.argv)}
        rows += [row | more for row in found]
        pd.DataFrame(rows).to_csv(plan.out, index=False, float_format="%.5f")
        print(pd.DataFrame(found).drop(columns=["temperature"]).to_string(), flush=True)


if __name__ == "__main__":
    main()

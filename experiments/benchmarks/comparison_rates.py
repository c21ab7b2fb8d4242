"""How often ``ens compare`` is wrong: Holm's correction, factor effects and ``--power`` where the truth is planted.

Usage: python experiments/benchmarks/comparison_rates.py --out experiments/results/comparison-rates.csv
The scenes and systems are those of ``planted_scenes.py``: many thousand groups of images with confusion matrices of
several systems are made once, the truth is read off them exactly, and a world is a few of the groups. One row per
setting, method and measure.

"holm": five systems, unlike in recall and taste, with the same mean IoU and the same IoU of rock ("equal"), or the
last of them 5 points better ("one better"): the rate of any false difference among the pairs.
"factors": a grid of runs, level + block in mean IoU, each run with noise of its own training that is the same on all
images, noise of run and group, and a taste of its level that differs from group to group. Levels "b" and "c" differ
from "a" by 0 and -2 points in every block. The package's interval is "two-way"; "sum" does not take off what both of
its variances hold, "sandwich" is OLS with errors clustered by run and by group. In the grid "no replicates" nothing
tells the noise of training, so that no interval can know it.
"power": the groups that pilots of 190 groups ask for, by the estimated spread ("plain") and by a safe one ("safe"), and
the share of worlds of as many groups in which the difference is seen, beside the promised one.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from planted_scenes import CLASSES, PAIRS, ROCK, TASTE, Scenes, confusions, group_sums, iou, population, scenes
from scipy.optimize import brentq, root
from scipy.special import stdtrit
from statsmodels.regression.linear_model import OLS

from ensemble.comparison.factor_levels import Grid
from ensemble.comparison.inference import holm, spread_of_groups
from ensemble.comparison.linear_model import Design, Estimates
from ensemble.comparison.t_tests import needed_groups, power_of_t, safe
from ensemble.evaluation.confusion import mean_present
from ensemble.evaluation.paired import SampledScores
from ensemble.evaluation.shares import Shares

Floats = NDArray[np.float64]
Row = dict[str, Any]
STEP = 50  # worlds that share their resamples


def rate(hits_w: NDArray[np.bool_]) -> Row:
    """A share of worlds with its standard error."""
    share = float(hits_w.mean())
    return {"value": round(share, 5), "standard_error": round(math.sqrt(share * (1 - share) / len(hits_w)), 5)}


def mean(values_w: Floats) -> Row:
    """A mean over worlds with its standard error."""
    error = float(values_w.std(ddof=1)) / math.sqrt(len(values_w))
    return {"value": round(float(values_w.mean()), 5), "standard_error": round(error, 5)}


def mean_iou(sums: Floats) -> Floats:
    """Mean IoU from sums (..., k, 3)."""
    return mean_present(iou(sums))


World = list[SampledScores]


def worlds(people: Floats, groups: int, simulations: int, resamples: int, seed: int) -> Iterator[World]:
    """Mean IoU of every system in random worlds: of all images, of resamples, without each group."""
    random = np.random.default_rng(seed)
    for _ in range(0, simulations, STEP):
        sums_wg = people[random.integers(len(people), size=(STEP, groups))].astype(np.float64)
        counts_bg = random.multinomial(groups, np.full(groups, 1 / groups), size=resamples).astype(np.float64)
        totals_bw = counts_bg @ sums_wg.swapaxes(0, 1).reshape(groups, -1)
        samples_bws = mean_iou(totals_bw.reshape(resamples, STEP, *people.shape[1:]))
        for w, sums_gs in enumerate(sums_wg):
            whole_s = sums_gs.sum(0)
            iou_sk, left_out_gsk = iou(whole_s), iou(whole_s - sums_gs)
            holders_sk = (sums_gs[..., 2] > 0).sum(0)
            shares = [Shares(iou_sk[s], left_out_gsk[:, s], holders_sk[s]) for s in range(len(iou_sk))]
            yield [
                SampledScores(
                    mean_present(iou_sk[s : s + 1]),
                    samples_bws[:, w, s : s + 1],
                    mean_present(left_out_gsk[:, s : s + 1]),
                    (shares[s],),
                )
                for s in range(len(shares))
            ]


def p_of(world: World, a: int, b: int) -> float:
    """The package's p-value of a pair."""
    return world[a].minus(world[b]).p_value()


# ---------------------------------------------------------------- Holm

OWN = np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0.4, 0, -0.4, 0.5], [-0.3, 0.2, 0.1, -0.5], [0.2, -0.3, 0.1, 0.0]])


def noisy(seen: Scenes, groups: int, systems: int, random: np.random.Generator) -> Scenes:
    """The scenes with effects of as many systems of their own."""
    shape = (systems, groups, CLASSES)
    own_snk = random.normal(0, 0.3, shape)[:, seen.group_n]
    own_snk += random.normal(0, 0.4, own_snk.shape)
    return replace(seen, own_snk=own_snk, taste_snk=random.normal(0, 0.8, shape)[:, seen.group_n])


def equals(rock_share: float, people: int, seed: int, better: float) -> Floats:
    """Sums (groups, 5, k, 3) of systems with the same mean IoU and IoU of rock, the last one ``better`` in both."""
    seen = noisy(scenes(people, rock_share, seed), people, len(OWN), np.random.default_rng([seed, 5]))
    base_k = PAIRS["twins"][0]

    def sums(system: int, shifts: Floats) -> Floats:
        shift_k = np.where(np.arange(CLASSES) == ROCK, shifts[1], shifts[0])
        return group_sums(seen, confusions(seen, system, base_k + OWN[system] + shift_k, TASTE + OWN[system] / 2))

    made = [sums(0, np.zeros(2))]
    goal_k = iou(made[0].sum(0))

    def gap(shifts: Floats, system: int, truth: float) -> Floats:
        difference_k = iou(sums(system, shifts).sum(0)) - goal_k - truth
        return np.array([difference_k.mean(), difference_k[ROCK]])

    for system, truth in zip(range(1, len(OWN)), (0.0, 0.0, 0.0, better), strict=True):
        solved = root(gap, np.zeros(2), args=(system, truth), tol=1e-10)
        if np.abs(gap(solved.x, system, truth)).max() > 1e-9:
            raise RuntimeError(f"no shift makes system {system} differ by {truth}: {solved.message}")
        made.append(sums(system, solved.x))
    return np.stack(made, axis=1)


def holm_rows(
    rock_share: float, groups: int, better: float, *, simulations: int, resamples: int, people: int, seed: int
) -> list[Row]:
    """Rates of any false difference, and of true ones, among the ten pairs of five systems."""
    pairs = list(combinations(range(len(OWN)), 2))
    same_p = np.array([better == 0 or b < len(OWN) - 1 for _, b in pairs])
    drawn = worlds(equals(rock_share, people, seed, better), groups, simulations, resamples, seed + 1)
    p_wp = np.array([[p_of(world, a, b) for a, b in pairs] for world in drawn])
    where: Row = {"study": "holm", "world": "one better" if better else "equal", "images_with_rock": rock_share}
    where |= {"groups": groups, "truth_points": 100 * better}
    rows: list[Row] = []
    for method, each_wp in (("uncorrected", p_wp), ("holm", np.array([holm(p_p.tolist()) for p_p in p_wp]))):
        seen_wp, one = each_wp < 0.05, where | {"method": method}
        rows.append(one | {"measure": "any false difference"} | rate(np.any(seen_wp[:, same_p], axis=1)))
        if better:
            rows.append(one | {"measure": "true differences found"} | mean(seen_wp[:, ~same_p].mean(1)))
    return rows


# ---------------------------------------------------------------- factors

EFFECTS = {"a": 0.0, "b": 0.0, "c": -0.02}
BLOCKS = (0.0, 0.02, -0.02, 0.01)
GOAL = 0.72  # mean IoU of level a in the first block
GRIDS = {  # level and block of each run
    "unbalanced": "a0 a0 a1 a2 a2 a3 b0 b1 b1 b3 c0 c2 c3 c3",
    "two seeds": "a0 a0 b0 b0 c0 c0",
    "one seed, four blocks": "a0 a1 a2 a3 b0 b1 b2 b3 c0 c1 c2 c3",
    "no replicates": "a0 b0 c0",
}


def design_of(grid: str) -> Design:
    """The design of a line of ``GRIDS``."""
    runs = GRIDS[grid].split()
    return Design.of(Grid("", tuple(EFFECTS), tuple(run[0] for run in runs), tuple(int(run[1]) for run in runs), ()))


def trainings(rock_share: float, noise: float, *, people: int, copies: int, seed: int) -> dict[str, Floats]:
    """For each level and block sums (copies, groups, k, 3) of trainings, with the planted mean IoU on average."""
    random = np.random.default_rng([seed, 7])
    seen, base_k = scenes(people, rock_share, seed), PAIRS["twins"][0]
    made: dict[str, Any] = {}  # float32: they are many
    for level, effect in EFFECTS.items():
        taste_nk = random.normal(0, 0.2, (people, CLASSES))[seen.group_n]
        for block, offset in enumerate(BLOCKS):
            trained = noisy(seen, people, copies, random)
            trained = replace(trained, own_snk=trained.own_snk + taste_nk)
            recall_tk = base_k + random.normal(0, noise, (copies, CLASSES))
            made[f"{level}{block}"] = _planted(trained, recall_tk, GOAL + offset + effect).astype(np.float32)
    return made


def _planted(trained: Scenes, recall_tk: Floats, goal: float) -> Floats:
    def sums(shift: float) -> Floats:
        return np.stack(
            [
                group_sums(trained, confusions(trained, t, recall_k + shift, TASTE))
                for t, recall_k in enumerate(recall_tk)
            ]
        )

    shift: Any = brentq(lambda shift: float(mean_iou(sums(shift).sum(1)).mean()) - goal, -6, 6, xtol=1e-7)
    return sums(float(shift))


def half_widths(design: Design, whole_r: Floats, left_out_gr: Floats, found: Estimates) -> dict[str, Floats]:
    """Half the width of each interval of the levels' effects."""
    by_groups, by_runs, freedom = found.by_groups_lc[:, 0], found.by_runs_lc[:, 0], found.group_freedom_lc[:, 0]
    known = {"groups only": (by_groups, freedom), "two-way": (found.variance_lc[:, 0], found.freedom_lc[:, 0])}
    if design.spare:
        both, spare = by_groups + by_runs, np.full_like(by_runs, design.spare)
        known["runs only"] = (by_runs, spare)
        known["sum"] = (both, both**2 / (by_groups**2 / freedom + by_runs**2 / spare))
        if len(left_out_gr) <= 60:  # slow
            known["sandwich"] = sandwich(design, whole_r, left_out_gr)
    return {
        name: stdtrit(np.maximum(freedom_l, 1), np.full_like(freedom_l, 0.975)) * np.sqrt(variance_l)
        for name, (variance_l, freedom_l) in known.items()
    }


def sandwich(design: Design, whole_r: Floats, left_out_gr: Floats) -> tuple[Floats, Floats]:
    """Variance by OLS with errors clustered by run and by group, on pseudo-values; the fewer of them less one."""
    groups, runs = left_out_gr.shape
    values_gr = groups * whole_r - (groups - 1) * left_out_gr
    values_gr -= values_gr.mean(1, keepdims=True)  # what a group does to all runs is no noise of theirs
    clusters = np.stack([np.tile(np.arange(runs), groups), np.repeat(np.arange(groups), runs)], axis=1)
    model = OLS(values_gr.ravel(), np.tile(design.columns_rp, (groups, 1)))
    levels = len(design.weights_lr)
    found = model.fit(cov_type="cluster", cov_kwds={"groups": clusters}).cov_params()
    return np.maximum(np.diagonal(found)[:levels], 0), np.full(levels, min(groups, runs) - 1.0)


def factor_rows(
    grid: str, noise: float, groups: int, pool: dict[str, Floats], *, simulations: int, seed: int
) -> list[Row]:
    """Bias of each effect; misses, false alarms and width of each interval."""
    random, design, runs = np.random.default_rng(seed + 2), design_of(grid), GRIDS[grid].split()
    copies, people = next(iter(pool.values())).shape[:2]
    effects_wl: list[Floats] = []
    halves: dict[str, list[Floats]] = {}
    for _ in range(simulations):
        chosen_g = random.integers(people, size=groups)
        order = {cell: iter(random.permutation(copies)) for cell in pool}
        sums_gr = np.stack([pool[run][next(order[run])][chosen_g] for run in runs], axis=1).astype(np.float64)
        whole_r, left_out_gr = mean_iou(sums_gr.sum(0)), mean_iou(sums_gr.sum(0) - sums_gr)
        found = design.estimate(whole_r[:, None], left_out_gr[..., None])
        effects_wl.append(found.effect_lc[:, 0])
        for name, half_l in half_widths(design, whole_r, left_out_gr, found).items():
            halves.setdefault(name, []).append(half_l)
    where: Row = {"study": "factors", "world": grid, "noise_of_training": noise, "groups": groups}
    rows: list[Row] = []
    for column, truth in enumerate(list(EFFECTS.values())[1:]):
        effect_w, one = np.array(effects_wl)[:, column], where | {"truth_points": round(100 * truth, 3)}
        rows.append(one | {"method": "two-way", "measure": "bias in points"} | mean(100 * (effect_w - truth)))
        for name, half_wl in halves.items():
            half_w, mine = np.array(half_wl)[:, column], one | {"method": name}
            rows.append(mine | {"measure": "misses"} | rate(np.abs(effect_w - truth) > half_w))
            rows.append(mine | {"measure": "differs from zero"} | rate(np.abs(effect_w) > half_w))
            rows.append(mine | {"measure": "median width in points", "value": round(200 * float(np.median(half_w)), 3)})
    return rows


# ---------------------------------------------------------------- power

PILOT = 190


def power_rows(
    world: str, rock_share: float, gain: float, *, simulations: int, resamples: int, people: int, seed: int
) -> list[Row]:
    """Power promised by pilots, and power seen, with the groups of a pilot and with as many as pilots ask for."""
    pair_gs = population(world, gain, rock_share, people, seed)
    asked: dict[str, list[float]] = {"plain": [], "safe": []}
    promised: list[float] = []
    seen: list[bool] = []
    for one in worlds(pair_gs, PILOT, simulations, resamples, seed + 3):
        difference = one[0].minus(one[1])
        spread, freedom = spread_of_groups(difference), difference.freedom
        promised.append(power_of_t(gain / spread * math.sqrt(PILOT), freedom))
        asked["plain"].append(needed_groups(gain, spread, PILOT, freedom))
        asked["safe"].append(needed_groups(gain, safe(spread, freedom), PILOT, freedom))
        seen.append(p_of(one, 0, 1) < 0.05)
    where: Row = {"study": "power", "world": world, "images_with_rock": rock_share, "truth_points": 100 * gain}
    pilot = where | {"groups": PILOT, "method": "pilot"}
    rows = [
        pilot | {"measure": "power promised"} | mean(np.array(promised)),
        pilot | {"measure": "power seen"} | rate(np.array(seen)),
    ]
    for method, groups_w in asked.items():
        for name, share in (("lower quartile", 0.25), ("median", 0.5), ("upper quartile", 0.75)):
            value = float(np.quantile(groups_w, share))
            rows.append(
                where | {"groups": PILOT, "method": method, "measure": f"{name} of groups asked for", "value": value}
            )
        wanted = min(int(np.median(groups_w)), 4000)
        again = [p_of(one, 0, 1) < 0.05 for one in worlds(pair_gs, wanted, simulations, resamples, seed + 4)]
        rows.append(where | {"groups": wanted, "method": method, "measure": "power seen"} | rate(np.array(again)))
    return rows


# ---------------------------------------------------------------- all of it

HOLM = ((0.02, 190, 0.0), (0.02, 60, 0.0), (0.2, 190, 0.0), (0.4, 15, 0.0), (0.2, 190, 0.05))
NOISES = (0.02, 0.15)
POWERS = (("twins", 0.2, 0.02), ("blind", 0.02, 0.01), ("unlike", 0.2, 0.02))


def jobs(plan: argparse.Namespace) -> Iterator[Callable[[], list[Row]]]:
    """What makes the rows of every setting."""
    common = {"simulations": plan.simulations, "people": plan.people, "seed": plan.seed}
    for setting in HOLM:
        yield lambda setting=setting: holm_rows(*setting, resamples=plan.resamples, **common)
    for noise in NOISES:
        pool = trainings(0.2, noise, people=plan.people // 10, copies=plan.copies, seed=plan.seed)
        for grid in GRIDS:
            for groups in (190, 60, 15):
                where = (grid, noise, groups, pool)
                yield lambda where=where: factor_rows(*where, simulations=plan.simulations, seed=plan.seed)
    for setting in POWERS:
        yield lambda setting=setting: power_rows(*setting, resamples=plan.resamples, **common)


def main() -> None:
    """Measure every setting and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=1000, help="per world; the command itself takes 10,000")
    parser.add_argument("--people", type=int, default=20_000, help="groups in a population; a tenth for factors")
    parser.add_argument("--copies", type=int, default=30, help="trainings of every level and block")
    parser.add_argument("--seed", type=int, default=0)
    plan = parser.parse_args()
    common = {"simulations": plan.simulations, "resamples": plan.resamples, "population_groups": plan.people}
    common |= {"trainings": plan.copies, "seed": plan.seed, "command": "python " + " ".join(sys.argv)}
    rows: list[Row] = []
    for job in jobs(plan):
        start = time.process_time()
        found = job()
        seconds = round(time.process_time() - start, 1)
        rows += [row | common | {"cpu_seconds": seconds} for row in found]
        pd.DataFrame(rows).to_csv(plan.out, index=False)
        print({key: found[0].get(key) for key in ("study", "world", "groups")}, seconds, flush=True)


if __name__ == "__main__":
    main()

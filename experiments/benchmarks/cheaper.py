"""Whether a budget finds the best members, and whether the promise of a cascade holds for new images.

Usage: python experiments/benchmarks/cheaper.py --out experiments/results/cheaper.csv
Eight networks of different quality predict four classes, the last one rare. Each pixel's logits are the true class, an
error that all networks share and an error of one network; both errors are larger on hard images, and hardness is partly
that of the group. In each draw some groups are seen, the product fits on them, and all other groups of the population
are new.

Rows "budget": costs are drawn at random, and a limit between that of the cheapest member and that of all. "equal" is
the share of draws in which the product's members are those that brute force over all 255 subsets finds on the groups
seen (the smallest log-loss with the best weights, within 2e-6, the precision of the weights). "best_for_new" is the
share in which their weighted log-loss on new groups is also the smallest of all subsets; "regret" how much larger it is
on average, as a share of what the best subset gains over the best member that fits.

Rows "criterion": the same with members chosen by mIoU and by log-loss. "lost_by_..." is how far the mIoU of the product
on new groups is below that of the best of all subsets there, "below_by_..." the share of draws in which it is below
that of the best single member that fits by more than 0.3 points. "sharpness" is how much too sure the surest network
may be: the logits of each are multiplied by a random number between 1 and that.

Rows "cascade": "kept" and "evaluations" are the shares that the cascade of all groups seen has on new groups,
"promised" those that were promised; "missed_low" and "missed_high" the shares of draws in which the truth lies below or
above the 95 % interval, "width" the median width of these intervals. "kept_fixed_missed" is the share that an interval
over groups misses if it takes the thresholds as given. "proven" is the share of draws in which something is promised at
all; the others do not count for "kept". "reached" is the share in which at least 95 % of the gain is kept at no more
than 50 % of the evaluations.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, cast

import numpy as np
from measuring import conditions, positive, write_table
from numpy.typing import NDArray

from ensemble.combining.alignment import Aligned
from ensemble.combining.budget import Budget
from ensemble.combining.cascade import Cascade
from ensemble.combining.cheaper import promise_of
from ensemble.combining.convex_weights import fit_convex_weights, log_loss
from ensemble.combining.crossfit import cross_fit_all
from ensemble.combining.fit_data import FitData, gather_fit_data
from ensemble.combining.pipeline import Pipeline
from ensemble.combining.stopping import image_losses
from ensemble.evaluation.bootstrap import Bootstrap
from ensemble.evaluation.confusion import mean_iou
from ensemble.evaluation.intervals import interval
from ensemble.evaluation.strips import PredictedBatch

MEMBERS, SHARES, SIDE, IMAGES = 8, (0.5, 0.3, 0.17, 0.03), 10, 3
KEEP, SAME = 0.95, 2e-6
SETTINGS = (
    *(("budget", 40, 0.5, 1.0), ("criterion", 40, 0.5, 1.0), ("criterion", 40, 0.5, 4.0)),
    *(("cascade", 40, 0.5, 1.0), ("cascade", 100, 0.5, 1.0), ("cascade", 40, 0.9, 1.0)),
)
CLEAR = 0.003  # a difference in mIoU that is worth a word
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scenes:
    """Images in memory in place of stores: what cross-fitting asks of `Aligned`."""

    probs_mnchw: NDArray[np.float32]
    labels_nhw: NDArray[np.uint8]
    groups: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the members."""
        return tuple(f"net{member}" for member in range(MEMBERS))

    stores = names
    members = MEMBERS
    classes = ("soil", "bedrock", "sand", "rock")

    @property
    def ids(self) -> tuple[str, ...]:
        """Names of the images."""
        return tuple(map(str, range(len(self.labels_nhw))))

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of each image."""
        return [(SIDE, SIDE)] * len(self.labels_nhw)

    def batches(self, size: int | None = None, halo: int = 0) -> Iterator[PredictedBatch]:
        """Yield all images."""
        yield PredictedBatch(slice(0, len(self.labels_nhw)), self.probs_mnchw, self.labels_nhw)

    def of_groups(self, chosen: Sequence[int]) -> Scenes:
        """Return the images of some groups."""
        rows = (np.asarray(chosen)[:, None] * IMAGES + np.arange(IMAGES)).ravel()
        return Scenes(self.probs_mnchw[:, rows], self.labels_nhw[rows], tuple(self.groups[row] for row in rows))

    @property
    def aligned(self) -> Aligned:
        """Itself, as what it stands for."""
        return cast(Aligned, self)


def scenes(groups: int, spread: float, sharpness: float, seed: int) -> Scenes:
    """Draw groups of images, and what the networks say; ``spread`` is the deviation of the log of the hardness."""
    sharp_m = sharpness ** np.random.default_rng([seed, 1]).uniform(size=MEMBERS)
    random, images = np.random.default_rng(seed), groups * IMAGES
    group_n = np.arange(images) // IMAGES
    hardness_n = np.exp(spread * (random.normal(size=groups)[group_n] + random.normal(size=images)) / np.sqrt(2))
    labels = random.choice(len(SHARES), (images, SIDE, SIDE), p=SHARES)
    is_true = labels[:, None] == np.arange(len(SHARES))[:, None, None]
    quality_m = np.linspace(1.8, 2.6, MEMBERS)[random.permutation(MEMBERS)]
    shared, hard = random.normal(size=is_true.shape), hardness_n[:, None, None, None]
    probs = np.empty((MEMBERS, *is_true.shape), np.float32)
    for member, quality in enumerate(quality_m):
        own = random.normal(size=is_true.shape)
        logits = quality * is_true + hard * (0.6 * shared + 0.9 * own) + 0.7 * np.log(SHARES)[:, None, None]
        exp = np.exp(sharp_m[member] * (logits - logits.max(1, keepdims=True)))
        probs[member] = exp / exp.sum(1, keepdims=True)
    return Scenes(probs, labels.astype(np.uint8), tuple(f"g{group:04d}" for group in group_n))


def drawn_budget(random: np.random.Generator) -> tuple[Budget, list[tuple[int, ...]]]:
    """Draw costs and a limit; return them with all subsets within it."""
    costs_m = random.uniform(1, 10, MEMBERS)
    limit = random.uniform(costs_m.min(), costs_m.sum())
    costs = {f"net{member}": float(cost) for member, cost in enumerate(costs_m)}
    every = [places for size in range(1, MEMBERS + 1) for places in combinations(range(MEMBERS), size)]
    within = [places for places in every if costs_m[list(places)].sum() <= limit]
    return Budget(limit, "ms", costs, "log-loss"), within


def under_a_budget(seen: FitData, new: FitData, random: np.random.Generator) -> dict[str, float]:
    """Return how the product's members compare with all subsets."""
    budget, within = drawn_budget(random)
    chosen = tuple(np.flatnonzero(Pipeline(budget=budget).fit(seen).weights_m).tolist())
    here, there = dict[tuple[int, ...], float](), dict[tuple[int, ...], float]()
    for places in within:
        weights_m = fit_convex_weights(seen.true_probs_pm[:, places])
        here[places] = log_loss(seen.true_probs_pm[:, places], weights_m)
        there[places] = log_loss(new.true_probs_pm[:, places], weights_m)
    best, alone = min(there.values()), min(loss for places, loss in there.items() if len(places) == 1)
    found = {"equal": here[chosen] <= min(here.values()) + SAME, "best_for_new": there[chosen] <= best + SAME}
    return found | {"over_best": there[chosen] - best, "gained": alone - best, "members": len(chosen)}


def by_criterion(seen: FitData, new: FitData, random: np.random.Generator) -> dict[str, float]:
    """Return how far the mIoU of members chosen by mIoU and by log-loss is below that of the best ones."""

    def miou(weights_m: Floats) -> float:
        pooled_cp = np.tensordot(weights_m.astype(np.float32), new.probs_mcp, 1)
        return float(mean_iou(new.confusions_gkk(pooled_cp.argmax(0)).sum(0)))

    budget, within = drawn_budget(random)
    there = dict[tuple[int, ...], float]()
    for places in within:
        weights_m = np.zeros(MEMBERS)
        weights_m[list(places)] = fit_convex_weights(seen.true_probs_pm[:, places])
        there[places] = miou(weights_m)
    alone, found = max(score for places, score in there.items() if len(places) == 1), dict[str, float]()
    for name, one in (("miou", replace(budget, by="miou")), ("log_loss", budget)):
        score = miou(Pipeline(budget=one).fit(seen).weights_m)
        found |= {f"lost_by_{name}": max(there.values()) - score, f"below_by_{name}": score < alone - CLEAR}
    return found


def stopping_early(seen: Scenes, new: Scenes, seed: int) -> dict[str, float]:
    """Return what a cascade promises, and what is true of new groups."""
    pipeline = Pipeline(keep_gain=KEEP)
    (done,) = cross_fit_all(seen.aligned, [pipeline], seed=seed, shapes=False)
    assert done.stopped is not None
    assert isinstance(done.pool, Cascade)
    promise = promise_of(done.stopped, seen.groups)
    asked = 0

    def predict(place: int, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        nonlocal asked
        asked += len(rows)
        return new.probs_mnchw[place][rows]

    losses = [
        image_losses(pooled, new.labels_nhw).sum()
        for pooled in (
            new.probs_mnchw[done.pool.order[0]],
            done.pool.by_need(predict, len(new.labels_nhw)),
            done.pool.stages[-1](new.probs_mnchw[list(done.pool.order)]),
        )
    ]
    kept, evaluations = (losses[0] - losses[1]) / (losses[0] - losses[2]), asked / new.labels_nhw.shape[0]
    found: dict[str, float] = {"proven": promise.proven}
    for name, true, share in (
        ("kept", kept, promise.kept),
        ("evaluations", evaluations / len(done.pool.order), promise.evaluations),
    ):
        missed = {f"{name}_missed_low": true < share.low, f"{name}_missed_high": true > share.high}
        found |= {name: true, f"promised_{name}": share.share, f"width_{name}": share.high - share.low} | missed
    bootstrap = Bootstrap.draw(seen.groups)
    parts = done.stopped.first_n - done.stopped.stopped_n, done.stopped.first_n - done.stopped.full_n
    fixed = interval(bootstrap.ratio(*parts), left_out_g=bootstrap.leave_one_out.ratio(*parts))
    found["kept_fixed_missed"] = not fixed.low <= kept <= fixed.high
    reached = kept >= KEEP and evaluations / len(done.pool.order) <= 0.5
    return found | {"reached": reached, "stages": len(done.pool.order)}


def main() -> None:
    """Measure every row and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--draws", type=positive, default=200)
    parser.add_argument("--people", type=positive, default=500, help="groups in a population")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("budget", "criterion", "cascade"))
    plan = parser.parse_args()
    rows: list[dict[str, Any]] = []
    about: dict[str, Any] = {"population_groups": plan.people, "seed": plan.seed} | conditions()
    about["command"] = "python " + " ".join(sys.argv)
    for kind, groups, spread, sharpness in SETTINGS:
        if plan.only not in (None, kind):
            continue
        world, random = scenes(plan.people, spread, sharpness, plan.seed), np.random.default_rng([plan.seed, groups])
        found = list[dict[str, float]]()
        for draw in range(plan.draws):
            order = random.permutation(plan.people).tolist()
            seen, new = world.of_groups(order[:groups]), world.of_groups(order[groups:])
            if kind != "cascade":
                judge = under_a_budget if kind == "budget" else by_criterion
                found.append(judge(gather_fit_data(seen.aligned), gather_fit_data(new.aligned), random))
            else:
                found.append(stopping_early(seen, new, draw))
        table = {name: np.array([one[name] for one in found], float) for name in found[0]}
        row: dict[str, Any] = {"kind": kind, "groups": groups, "spread": spread, "sharpness": sharpness}
        row["draws"] = plan.draws
        if kind == "budget":
            row["regret"] = table.pop("over_best").sum() / table.pop("gained").sum()
        elif kind == "cascade":
            proven = table["proven"] > 0
            table = {name: values[proven] if "kept" in name else values for name, values in table.items()}
        middle = {name: np.median if name.startswith("width") else np.mean for name in table}
        rows.append(row | {name: float(middle[name](values)) for name, values in table.items()} | about)
        write_table(plan.out, rows, list(row))
        print({key: value for key, value in rows[-1].items() if key not in about}, flush=True)


if __name__ == "__main__":
    main()

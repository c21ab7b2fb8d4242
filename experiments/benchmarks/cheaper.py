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
from dataclasses import dataclass
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
from ensemble.evaluation.intervals import interval
from ensemble.evaluation.strips import PredictedBatch

MEMBERS, SHARES, SIDE, IMAGES = 8, (0.5, 0.3, 0.17, 0.03), 10, 3
KEEP, SAME = 0.95, 2e-6
SETTINGS = (("budget", 40, 0.5), ("cascade", 40, 0.5), ("cascade", 100, 0.5), ("cascade", 40, 0.9))
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


def scenes(groups: int, spread: float, seed: int) -> Scenes:
    """Draw groups of images, and what the networks say; ``spread`` is the deviation of the log of the hardness."""
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
        exp = np.exp(logits - logits.max(1, keepdims=True))
        probs[member] = exp / exp.sum(1, keepdims=True)
    return Scenes(probs, labels.astype(np.uint8), tuple(f"g{group:04d}" for group in group_n))


def under_a_budget(seen: FitData, new: FitData, random: np.random.Generator) -> dict[str, float]:
    """Return how the product's members compare with all subsets."""
    costs_m = random.uniform(1, 10, MEMBERS)
    limit = random.uniform(costs_m.min(), costs_m.sum())
    budget = Budget(limit, "ms", {f"net{member}": float(cost) for member, cost in enumerate(costs_m)}, "log-loss")
    chosen = tuple(np.flatnonzero(Pipeline(budget=budget).fit(seen).weights_m).tolist())
    every = [places for size in range(1, MEMBERS + 1) for places in combinations(range(MEMBERS), size)]
    here, there = dict[tuple[int, ...], float](), dict[tuple[int, ...], float]()
    for places in every:
        if costs_m[list(places)].sum() <= limit:
            weights_m = fit_convex_weights(seen.true_probs_pm[:, places])
            here[places] = log_loss(seen.true_probs_pm[:, places], weights_m)
            there[places] = log_loss(new.true_probs_pm[:, places], weights_m)
    best, alone = min(there.values()), min(loss for places, loss in there.items() if len(places) == 1)
    found = {"equal": here[chosen] <= min(here.values()) + SAME, "best_for_new": there[chosen] <= best + SAME}
    return found | {"over_best": there[chosen] - best, "gained": alone - best, "members": len(chosen)}


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
    parser.add_argument("--only", choices=("budget", "cascade"))
    plan = parser.parse_args()
    rows: list[dict[str, Any]] = []
    about: dict[str, Any] = {"population_groups": plan.people, "seed": plan.seed} | conditions()
    about["command"] = "python " + " ".join(sys.argv)
    for kind, groups, spread in SETTINGS:
        if plan.only not in (None, kind):
            continue
        world, random = scenes(plan.people, spread, plan.seed), np.random.default_rng([plan.seed, groups])
        found = list[dict[str, float]]()
        for draw in range(plan.draws):
            order = random.permutation(plan.people).tolist()
            seen, new = world.of_groups(order[:groups]), world.of_groups(order[groups:])
            if kind == "budget":
                found.append(under_a_budget(gather_fit_data(seen.aligned), gather_fit_data(new.aligned), random))
            else:
                found.append(stopping_early(seen, new, draw))
        table = {name: np.array([one[name] for one in found], float) for name in found[0]}
        row: dict[str, Any] = {"kind": kind, "groups": groups, "spread": spread, "draws": plan.draws}
        if kind == "budget":
            row["regret"] = table.pop("over_best").sum() / table.pop("gained").sum()
        else:
            proven = table["proven"] > 0
            table = {name: values[proven] if "kept" in name else values for name, values in table.items()}
        middle = {name: np.median if name.startswith("width") else np.mean for name in table}
        rows.append(row | {name: float(middle[name](values)) for name, values in table.items()} | about)
        write_table(plan.out, rows, list(row))
        print({key: value for key, value in rows[-1].items() if key not in about}, flush=True)


if __name__ == "__main__":
    main()

"""Are the snapshots of one training worth more than one long run of the same steps?

Usage: python experiments/benchmarks/snapshots.py mars.npz --out experiments/results/snapshots.csv
For each seed three trainings of the same number of epochs:

- "long": one member.
- "snapshots": one training in cycles, at the end of each of which the learning rate is 0 and a member is taken; "last
  snapshot" is the member of the last cycle, "average of snapshots" the mean of the probabilities of all of them.
- "short": as many members as there are cycles, each trained from other random weights for its share of the epochs;
  "average of short runs" is the mean of their probabilities.

Scores are those of a grouped hold-out, the same for all. A row is a system of a seed, with its paired difference to the
long run in mIoU: interval of 95 % over image groups, and p-value corrected by Holm for all pairs of the seed.
`networks` is what one prediction costs. The command goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from measuring import conditions, positive, write_table

from ensemble.combining.combine import combine
from ensemble.comparison import compare_runs
from ensemble.inference.hardware import torch_threads
from ensemble.runs.member import Member
from ensemble.training.train import plan_training, train_member

SHOWN = ("seed", "system", "miou", "to_long", "low", "high", "p_holm", "log_loss", "epochs", "networks")


def members_of(asked: Mapping[str, Any]) -> list[Member]:
    """Return the members of a training, by cycle."""
    plan = plan_training(asked)
    train_member(plan)
    return [Member.open(each.path) for each in (*plan.all_snapshots[1:], plan)]


def systems(asked: Mapping[str, Any], cycles: int) -> dict[str, tuple[Any, list[Member]]]:
    """Return each system (a member or an ensemble) of a seed by name, with the members that it predicts with."""
    seed, runs = asked["seed"], asked["out"]
    (long,), snapshots = members_of(asked), members_of({**asked, "cycles": cycles})
    seeds = [seed + 1000 * place for place in range(1, cycles + 1)]
    share = {"epochs": asked["epochs"] // cycles}
    short = [member for one in seeds for member in members_of({**asked, **share, "seed": one})]

    def average(members: list[Member]) -> tuple[Any, list[Member]]:
        return combine(members, method="average", runs=runs).ensemble, members

    alone = {"long": (long, [long]), "last snapshot": (snapshots[-1], snapshots[-1:])}
    return alone | {"average of snapshots": average(snapshots), "average of short runs": average(short)}


def measure(asked: Mapping[str, Any], cycles: int) -> list[dict[str, Any]]:
    """Return a row for each system of a seed."""
    found = systems(asked, cycles)
    compared = compare_runs([system.path for system, _ in found.values()])
    to_long = {one.b: one for one in compared.of() if one.a == found["long"][0].name}
    rows = list[dict[str, Any]]()
    for name, (system, members) in found.items():
        row = {"seed": asked["seed"], "system": name}
        row |= {score: round(system.scores[score], 4) for score in ("miou", "log_loss", "ece")}
        row |= dict.fromkeys(("to_long", "low", "high", "p_holm"))
        if one := to_long.get(system.name):  # the long run less the system
            limits = {"to_long": -one.estimate.difference, "low": -one.estimate.high, "high": -one.estimate.low}
            row |= {key: round(value, 4) for key, value in limits.items()} | {"p_holm": round(one.p_holm, 4)}
        epochs = sum(member.settings.epochs or 0 for member in members if member.settings.snapshot is None)
        row |= {"epochs": epochs, "networks": len(members), "groups": system.scores["groups"]}
        rows.append(row | {"validation_images": system.scores["images"]})
    return rows


def main() -> None:
    """Train what is missing, compare, and write the table after every seed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("data")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--runs", type=Path, default=Path("snapshot-runs"), help="folder for members and ensembles")
    parser.add_argument("--arch", default="unet(filters=16)")
    parser.add_argument("--loss", default="weighted-ce")
    parser.add_argument("--steps", type=positive, default=1200, help="of each training, rounded to whole epochs")
    parser.add_argument("--batch-size", type=positive, default=32)
    parser.add_argument("--cycles", type=positive, default=4)
    parser.add_argument("--seeds", type=positive, default=3)
    parser.add_argument("--threads", type=positive, default=2)
    given = parser.parse_args()
    asked: dict[str, Any] = {name: getattr(given, name) for name in ("data", "arch", "loss", "batch_size")}
    asked["out"] = given.runs
    asked["epochs"] = plan_training({**asked, "steps": given.steps, "cycles": given.cycles}).settings.epochs
    rows = list[dict[str, Any]]()
    with torch_threads(given.threads):
        for seed in range(given.seeds):
            found = measure({**asked, "seed": seed}, given.cycles)
            about = {name: getattr(given, name) for name in ("arch", "loss", "steps", "batch_size", "cycles")}
            rows += [row | about | conditions(("torch",)) | {"threads": given.threads} for row in found]
            write_table(given.out, rows, SHOWN)


if __name__ == "__main__":
    main()

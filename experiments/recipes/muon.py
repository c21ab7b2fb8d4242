"""Does Muon train a network from random weights better than AdamW, in equal minutes?

    python experiments/recipes/muon.py mars.npz --out experiments/results/muon.csv

For each seed a member is trained with each optimiser, on the same grouped hold-out and at one learning rate. Muon's
member has as many epochs as fit into the seconds that AdamW's steps took: a few epochs of both are timed first, in
turn. Differences are Muon less AdamW, paired over image groups, 95 % intervals.
The command goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from common_classes import differences, iou, log_loss_difference, write

from ensemble.evaluation import Draws
from ensemble.inference.hardware import torch_threads
from ensemble.runs.layout import HISTORY
from ensemble.runs.member import Member
from ensemble.runs.tables import read_tables
from ensemble.training.train import plan_training, train_member

OPTIMISERS = ("adamw", "muon")


def train(asked: Mapping[str, Any], runs: Path, optimiser: str, epochs: int) -> Member:
    """Return a member; one that is finished is not trained again."""
    plan = plan_training({**asked, "optimiser": optimiser, "epochs": epochs, "out": runs})
    train_member(plan)
    return Member.open(plan.path)


def seconds_of(member: Member) -> float:
    """Return how long the steps of a member took."""
    return float(pd.read_csv(member.path / HISTORY).seconds.sum())


def step_ratio(asked: Mapping[str, Any], runs: Path, rounds: int = 2) -> float:
    """Return how much longer an epoch of Muon takes than one of AdamW: the mean of a few, in turn."""
    seconds = dict.fromkeys(OPTIMISERS, 0.0)
    for turn in range(rounds):
        for name in OPTIMISERS:
            seconds[name] += seconds_of(train({**asked, "seed": 1000 + turn}, runs / "timing", name, 1))
    return seconds["muon"] / seconds["adamw"]


def rows_of(asked: Mapping[str, Any], runs: Path, epochs: int, ratio: float) -> list[dict[str, Any]]:
    """Train with both optimisers, and return a row for each member."""
    members = {
        name: train(asked, runs, name, max(1, round(epochs / share)))
        for name, share in (("adamw", 1.0), ("muon", ratio))
    }
    tables = {name: read_tables(member.path) for name, member in members.items()}
    draws, confusions = Draws.of(tables["adamw"].groups), {name: each.confusions_nkk for name, each in tables.items()}
    rare = int(confusions["adamw"].sum((0, 2)).argmin())
    rows: list[dict[str, Any]] = []
    for name, member in members.items():
        row: dict[str, Any] = {"seed": asked["seed"], "optimiser": name, "epochs": member.settings.epochs}
        row |= {"seconds": seconds_of(member), "step_ratio": ratio}
        row |= {score: member.scores[score] for score in ("miou", "log_loss", "images", "groups")}
        row["common"] = iou(draws, confusions[name], rare).whole_c[-1]
        rows.append(row)
    rows[-1] |= differences(draws, confusions["muon"], confusions["adamw"], rare)
    rows[-1] |= log_loss_difference(draws, tables["muon"], tables["adamw"])
    return rows


def main() -> None:
    """Train what is missing, compare, and write the table after every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--runs", type=Path, default=Path("muon-runs"), help="folder for the members")
    parser.add_argument("--arch", default="residual-unet(filters=16)")
    parser.add_argument("--loss", default="ce")
    parser.add_argument("--epochs", type=int, default=8, help="of AdamW")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    asked: dict[str, Any] = {name: getattr(given, name) for name in ("data", "arch", "loss")} | {"augment": "geometric"}
    rows = list[dict[str, Any]]()
    with torch_threads(given.threads):
        ratio = step_ratio(asked, given.runs)
        for seed in range(given.seeds):
            about = {"arch": given.arch, "loss": given.loss, "threads": given.threads}
            rows += [row | about for row in rows_of({**asked, "seed": seed}, given.runs, given.epochs, ratio)]
            write(rows, given.out)


if __name__ == "__main__":
    main()

"""Does Muon train a network from random weights better than AdamW, in equal minutes?

    python experiments/recipes/muon.py mars.npz --out experiments/results/muon.csv

For each seed a member is trained with each optimiser, on the same grouped hold-out and at the default learning rate of
the optimiser; for the first seed also at the other rates. Muon's members have as many epochs as fit into the seconds
that AdamW's steps took: a few epochs of both are timed first, in turn. Differences are to AdamW at its default rate,
paired over image groups, 95 % intervals.
The command goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from common_classes import differences, iou, log_loss_difference, write

from ensemble.config import RATES
from ensemble.evaluation import Draws
from ensemble.inference.hardware import torch_threads
from ensemble.runs.layout import HISTORY
from ensemble.runs.member import Member
from ensemble.runs.tables import read_tables
from ensemble.training.train import plan_training, train_member

OPTIMISERS = tuple(RATES)


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


def rows_of(members: Sequence[Member], ratio: float) -> list[dict[str, Any]]:
    """Return a row for each member of a seed; differences are to the first."""
    tables = [read_tables(member.path) for member in members]
    first, confusions = tables[0], [each.confusions_nkk for each in tables]
    draws, rare = Draws.of(first.groups), int(confusions[0].sum((0, 2)).argmin())
    rows: list[dict[str, Any]] = []
    for member, each, own in zip(members, tables, confusions, strict=True):
        settings = member.settings
        row: dict[str, Any] = {"seed": settings.seed, "optimiser": settings.optimiser.name, "lr": settings.optimiser.lr}
        row |= {"epochs": settings.epochs, "seconds": seconds_of(member), "step_ratio": ratio}
        row |= {score: member.scores[score] for score in ("miou", "log_loss", "images", "groups")}
        row["common"] = iou(draws, own, rare).whole_c[-1]
        if each is not first:
            row |= differences(draws, own, confusions[0], rare) | log_loss_difference(draws, each, first)
        rows.append(row)
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
    parser.add_argument(
        "--rates", type=float, nargs="*", default=[0.002, 0.006, 0.03], help="more rates for the first seed"
    )
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    asked: dict[str, Any] = {name: getattr(given, name) for name in ("data", "arch", "loss")} | {"augment": "geometric"}
    rows = list[dict[str, Any]]()
    with torch_threads(given.threads):
        ratio = step_ratio(asked, given.runs)
        epochs = {"adamw": given.epochs, "muon": max(1, round(given.epochs / ratio))}
        for seed in range(given.seeds):
            each = [(name, RATES[name]) for name in OPTIMISERS]
            if seed == 0:
                each += [(name, rate) for rate in given.rates for name in OPTIMISERS if rate != RATES[name]]
            members = [
                train({**asked, "seed": seed, "lr": rate}, given.runs, name, epochs[name]) for name, rate in each
            ]
            about = {"arch": given.arch, "loss": given.loss, "threads": given.threads}
            rows += [row | about for row in rows_of(members, ratio)]
            write(rows, given.out)


if __name__ == "__main__":
    main()

"""Does Muon train a network from random weights better than AdamW, in equal minutes?

    python experiments/recipes/muon.py mars.npz --out experiments/results/muon.csv

For each seed a member is trained with each optimiser, on the same grouped hold-out. Muon (Jordan et al. 2024) takes the
kernels of the convolutions between the first and the last layer, each as a matrix (outputs, inputs x height x width);
all other parameters stay with AdamW. Its updates are scaled to the size of those of AdamW (Liu et al. 2025), so that
both have one learning rate. Muon's member has as many epochs as fit into the seconds that AdamW's steps took: a few
steps of both are timed first, in turn. Differences are Muon less AdamW, paired over image groups, 95 % intervals.
The command goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import torch
from common_classes import differences, iou, log_loss_difference, write
from torch import Tensor, nn

from ensemble.evaluation import Draws
from ensemble.inference.hardware import torch_threads
from ensemble.runs.layout import HISTORY
from ensemble.runs.member import Member
from ensemble.runs.tables import read_tables
from ensemble.training.train import plan_training, train_member

LEAST = 16  # rows and columns of a matrix that Muon takes; the first and the last layer have fewer


class MuonAndAdamW:
    """Muon for the kernels between the first and the last layer, AdamW for the rest; it is called as AdamW is."""

    def __init__(self, groups: Iterable[Mapping[str, Any]], *, lr: float, fused: bool) -> None:
        groups = list(groups)
        self.kernels = [
            p for group in groups for p in group["params"] if p.ndim == 4 and min(_matrix(p).shape) >= LEAST
        ]
        inside = {id(p) for p in self.kernels}
        rest = [{**group, "params": [p for p in group["params"] if id(p) not in inside]} for group in groups]
        self.matrices = [nn.Parameter(_matrix(p.detach())) for p in self.kernels]
        assert all(m.data_ptr() == p.data_ptr() for m, p in zip(self.matrices, self.kernels, strict=True))
        decay = max(group["weight_decay"] for group in groups)
        self.adamw = ADAMW([group for group in rest if group["params"]], lr=lr, fused=fused)
        self.muon = torch.optim.Muon(self.matrices, lr=lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw")

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of both, whose rates the trainer sets."""
        return self.adamw.param_groups + self.muon.param_groups

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        self.adamw.zero_grad(set_to_none)
        for kernel in self.kernels:
            kernel.grad = None

    def step(self) -> None:
        """Do one step of both."""
        for matrix, kernel in zip(self.matrices, self.kernels, strict=True):
            matrix.grad = None if kernel.grad is None else _matrix(kernel.grad)
        self.adamw.step()
        self.muon.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both."""
        return {"adamw": self.adamw.state_dict(), "muon": self.muon.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the states of both."""
        self.adamw.load_state_dict(state["adamw"])
        self.muon.load_state_dict(state["muon"])


ADAMW = torch.optim.AdamW
OPTIMISERS = {"adamw": ADAMW, "muon": MuonAndAdamW}


def _matrix(kernel: Tensor) -> Tensor:
    """Return a kernel in channels-last order as a matrix (outputs, height x width x inputs) of the same memory."""
    return kernel.permute(0, 2, 3, 1).reshape(len(kernel), -1)


def train(asked: Mapping[str, Any], runs: Path, optimiser: str, epochs: int) -> Member:
    """Return a member; one that is finished is not trained again."""
    plan = plan_training({**asked, "epochs": epochs, "out": runs / optimiser})
    with mock.patch("ensemble.training.trainer.AdamW", OPTIMISERS[optimiser]):
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

"""Every architecture (with weighted-ce) and every loss (with unet) under the same 600 optimiser steps of batch 32.

    python experiments/recipes/catalogue.py mars.npz [--runs runs] [--only NAME ...]
    python experiments/recipes/catalogue.py --table          (the tables of the README, from the rows measured so far)

One grouped hold-out, one seed, flips. Writes experiments/results/catalogue.csv row by row, so that an interrupted run
goes on where it was, half-trained members included; a row is measured again when its settings, data or precision have
changed. About three minutes a row on two idle cores with bf16 units.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ensemble.architectures import ARCHITECTURES
from ensemble.config import TrainSettings
from ensemble.core.errors import EnsError
from ensemble.core.files import read_json, write_bytes
from ensemble.inference.network import load_networks
from ensemble.inference.operations import gflops
from ensemble.losses import LOSSES
from ensemble.runs.member import Member
from ensemble.training.plan import Plan, plan_member
from ensemble.training.train import train_member

STEPS, BATCH, SEED = 600, 32, 0
VAL_FRACTION = 0.26  # leaves 1,935 training tiles of mars.npz: 60 full batches, so that 10 epochs are 600 steps
EPOCHS = 10
OUT = Path(__file__).resolve().parents[1] / "results" / "catalogue.csv"
# A distance to the boundary prices a thin structure that is missed by its width alone: measured in the usual sum.
SUMS: Mapping[str, str] = {"boundary": "ce + 0.5*boundary"}


def entries(only: list[str] | None) -> Iterator[tuple[str, str, str, str]]:
    """Study, name, architecture and loss of every row."""
    for name in LOSSES:
        if not only or name in only:
            yield "loss", name, "unet", SUMS.get(name, name)
    for name in ARCHITECTURES:
        if not only or name in only:
            yield "architecture", name, name, "weighted-ce"


def planned(data: str, arch: str, loss: str, runs: Path) -> Plan:
    """The member of a row; all rows take the same number of steps, or the table compares nothing."""
    task: dict[str, Any] = {
        "data": data,
        "val_fraction": VAL_FRACTION,
        "augment": "flips",
        "epochs": EPOCHS,
        "batch_size": BATCH,
        "optimiser": "adamw",
    }
    plan = plan_member(TrainSettings(**task, arch=arch, loss=loss, seed=SEED), runs)
    steps = EPOCHS * plan.job(0, EPOCHS).steps
    if steps != STEPS:
        raise SystemExit(f"expected {STEPS} steps in {EPOCHS} epochs, got {steps}: the catalogue is of mars.npz")
    return plan


def measured(member: Member) -> dict[str, Any]:
    """What the finished member says of itself, with the conditions it was trained under."""
    history: Any = pd.read_csv(member.path / "history.csv")
    facts, settings = member.facts, member.settings
    environment = read_json(member.path / "environment.json")
    image = torch.zeros(1, facts.bands, facts.height, facts.width)
    scores = member.scores
    return {
        "parameters": member.status["parameters"],
        "gflops": round(gflops(load_networks(member)[0], image), 3),
        "images_per_second": round(float(history["images_per_second"].median()), 1),
        "seconds": round(member.status["training_seconds"], 1),
        **{key: scores[key] for key in ("miou", "miou_low", "miou_high")},
        **{f"iou_{name.replace(' ', '_')}": value for name, value in scores["iou"].items()},
        **{key: scores[key] for key in ("pixel_accuracy", "log_loss", "ece")},
        "train_loss_last_epoch": round(float(history["train_loss"].iloc[-1]), 4),
        "steps": STEPS,
        "batch_size": settings.batch_size,
        "lr": settings.optimiser.lr,
        "augmentation": settings.augmentation,
        "seed": settings.seed,
        "validation_images": len(member.confusions()),
        "precision": settings.precision,
        "threads": settings.threads,
        "cpu": environment["cpu"],
        "torch": environment["packages"]["torch"],
        "data_hash": facts.data_hash,
        "split_hash": facts.split_hash,
        "member": member.name,
    }


def read_rows(out: Path) -> pd.DataFrame:
    """The rows measured so far."""
    return pd.read_csv(out) if out.is_file() else pd.DataFrame({"study": [], "name": [], "member": []})


def append(row: Mapping[str, Any], out: Path) -> None:
    """Add the row, or put it in the place of the one of the same study and name; the file is always whole."""
    rows = read_rows(out)
    others: Any = rows[(rows["study"] != row["study"]) | (rows["name"] != row["name"])]
    frame = pd.DataFrame([*others.to_dict("records"), dict(row)]).convert_dtypes()
    text = io.StringIO()
    frame.to_csv(text, index=False, lineterminator="\n")
    write_bytes(out, text.getvalue().encode())


def tables(out: Path = OUT) -> str:
    """The rows as the two Markdown tables of the README, the best first."""
    rows = read_rows(out).dropna(subset="miou").sort_values("miou", ascending=False)
    return "\n".join(_table(part, study) for study, part in rows.groupby("study", sort=True))


def _table(rows: pd.DataFrame, study: Any) -> str:
    def percent(column: str) -> Any:
        return rows[column].map(lambda value: f"{100 * value:.1f}")

    classes = [str(column) for column in rows.columns if str(column).startswith("iou_")]
    size = {
        "params M": rows["parameters"].map(lambda value: f"{value / 1e6:.2f}"),
        "GFLOPs": rows["gflops"].map("{:.2f}".format),
        "images/s": rows["images_per_second"].map("{:.0f}".format),
    }
    shown = {
        study: rows["loss" if study == "loss" else "name"],
        **(size if study == "architecture" else {}),
        "mIoU": percent("miou"),
        "95 % interval": percent("miou_low") + "-" + percent("miou_high"),
        **{column.removeprefix("iou_").replace("_", " "): percent(column) for column in classes},
        "log-loss": rows["log_loss"].map("{:.3f}".format),
        "ECE": percent("ece"),
    }
    text = pd.DataFrame(shown).to_markdown(index=False, disable_numparse=True)
    head, _, body = text.split("\n", 2)
    return f"{head}\n|{'---|' * len(shown)}\n{body}\n"


def main() -> None:
    """Train what is missing and write its row, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--only", nargs="*")
    given = parser.parse_args()
    if given.table:
        print(tables(given.out))
        return
    if given.data is None:
        parser.error("name the data, mars.npz, or ask for the --table")
    for study, name, arch, loss in entries(given.only):
        row: dict[str, Any] = {"study": study, "name": name, "architecture": arch, "loss": loss}
        try:
            plan = planned(given.data, arch, loss, given.runs)
            rows = read_rows(given.out)
            # One member may stand in both studies: unet with weighted-ce does.
            same: Any = (rows["study"] == study) & (rows["name"] == name) & (rows["member"] == plan.path.name)
            if same.any():
                continue
            row |= measured(train_member(plan))
        except EnsError as error:
            row["error"] = str(error)
        append(row, given.out)
        print(f"{study} {name}: {row.get('error') or round(row['miou'], 4)}", flush=True)


if __name__ == "__main__":
    main()

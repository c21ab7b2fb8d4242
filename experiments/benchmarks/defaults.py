"""Which network, loss, length and augmentation suit most data? The defaults of `ens train`, chosen by measurement.

Usage: python experiments/benchmarks/defaults.py mars.npz nuclei --out experiments/results/defaults.csv

Three data sets that differ in everything: grey tiles with void pixels (mars.npz), microscope photographs with a real
background and thin outlines (the folder nuclei), and street scenes in colour, drawn by `streets.py`. Five questions,
each asked by changing one setting of a base member (BASE): the architecture, the loss, the number of steps, the
augmentation, the optimiser. Every member of a question takes the same number of steps on a data set, as nearly as whole
epochs allow, from random weights. A row per question, data set and answer, with its rank in mIoU; members are trained
one after the other. The CSV is written after every member and the command goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from measuring import conditions, positive
from streets import write_streets

from ensemble.config import TrainSettings
from ensemble.core.files import write_bytes
from ensemble.runs.member import Member
from ensemble.training.plan import Plan, plan_member
from ensemble.training.train import train_member

BASE: Mapping[str, Any] = {
    "arch": "unet",
    "loss": "weighted-ce",
    "steps": 300,
    "augment": "hflip",
    "optimiser": "adamw",
}
ANSWERS: Mapping[str, tuple[Any, ...]] = {
    "arch": ("unet", "residual-unet", "pan"),
    "loss": ("weighted-ce", "ce", "0.5*dice + 0.5*ce"),
    "augment": ("hflip", "flips", "hflip + scale", "hflip + scale + photometric"),
    "optimiser": ("adamw", "muon"),
    "steps": (300, 100),
}
ASKED_OF: Mapping[str, tuple[str, ...]] = {"augment": ("streets",), "steps": ("streets",)}  # of all data where absent


def planned(data: str, settings: Mapping[str, Any], batch_size: int, runs: Path) -> Plan:
    """The member with these settings; its epochs are as near to the steps as whole epochs can be."""
    asked: dict[str, Any] = {
        **{name: value for name, value in settings.items() if name != "steps"},
        "batch_size": batch_size,
    }
    one = plan_member(TrainSettings(data=data, **asked, epochs=1), runs)
    epochs = max(1, round(settings["steps"] / one.job(0, 1).steps))
    return plan_member(TrainSettings(data=data, **asked, epochs=epochs), runs)


def measured(member: Member, plan: Plan) -> dict[str, Any]:
    """What the finished member says of itself."""
    history: Any = pd.read_csv(member.path / "history.csv")
    settings, scores = member.settings, member.scores
    epochs = settings.epochs or 0
    return {
        "steps": epochs * plan.job(0, epochs).steps,
        "epochs": epochs,
        "batch_size": settings.batch_size,
        "training_images": len(plan.training_rows(0)),
        "validation_images": len(member.confusions()),
        **{name: _rounded(scores[name]) for name in ("miou", "miou_low", "miou_high", "log_loss")},
        "iou": "; ".join(f"{name} {value:.3f}" for name, value in scores["iou"].items()),
        "seconds": round(float(history["seconds"].sum()), 1),
        "parameters": plan.parameters,
        "architecture": settings.architecture.name,
        "loss": settings.loss.name,
        "augmentation": settings.augmentation,
        "seed": settings.seed,
        "precision": settings.precision,
        **conditions(("torch",)),
        "threads": settings.threads,
        "member": member.name,
    }


def _rounded(score: float | None) -> float | None:
    """Round a score; with too few groups of images its interval has no limits."""
    return None if score is None else round(score, 4)


def questions(data: Mapping[str, str], only: list[str] | None) -> Iterator[tuple[str, str, Any]]:
    """Question, name of the data and answer of every row."""
    for question, answers in ANSWERS.items():
        for name in ASKED_OF.get(question, tuple(data)):
            for answer in answers:
                if not only or question in only:
                    yield question, name, answer


def ranked(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows with the rank of each answer among those to the same question on the same data, 1 for the best."""
    frame = pd.DataFrame(rows)
    places = frame.groupby(["question", "data"])["miou"].rank(ascending=False, method="min").astype(int)
    frame.insert(3, "rank", places)
    return frame


def main() -> None:
    """Train what is missing and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("mars")
    parser.add_argument("nuclei")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("defaults-runs"), help="folder for members and streets")
    parser.add_argument("--batch-size", type=positive, default=8)
    parser.add_argument("--only", nargs="+", choices=ANSWERS, help="questions to ask")
    given = parser.parse_args()
    data = {"mars": given.mars, "nuclei": given.nuclei, "streets": str(write_streets(given.runs / "streets"))}
    rows: list[dict[str, Any]] = []
    if given.out.is_file():
        rows = pd.read_csv(given.out).drop(columns="rank").to_dict("records")  # pyright: ignore[reportAssignmentType]
    done = {(row["question"], row["data"], str(row["answer"])) for row in rows}
    for question, name, answer in questions(data, given.only):
        if (question, name, str(answer)) in done:
            continue
        plan = planned(data[name], {**BASE, question: answer}, given.batch_size, given.runs)
        row = measured(train_member(plan), plan)
        rows.append({"question": question, "data": name, "answer": answer, **row})
        write_bytes(given.out, ranked(rows).to_csv(index=False, lineterminator="\n").encode())
        sys.stdout.write(f"{question} {name} {answer}: {row['miou']:.3f} in {row['seconds']:.0f} s\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

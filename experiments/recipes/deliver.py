"""What is lost when an ensemble becomes smaller and faster? Every form in which it can be delivered, on Mars tiles.

    python experiments/recipes/deliver.py mars.npz [--runs runs]

Trains four members on a hold-out, the teachers of a student, and the student (about 20 minutes on two idle cores
with bf16 units). No network and no target of the student has seen the validation images. A row of
experiments/results/deliver.csv is one form of the model:

- its mIoU with the 95 % interval, and the difference to the full ensemble, paired over image groups;
- its log-loss, and the share of the ensemble's gain over the best member that is kept, in log-loss;
- milliseconds per image, as medians of the forms in turn, one image at a time; and the bytes of its bundle.

The full ensemble is `learned`. The others are a subset within half of its operations, a cascade that aims at 95 % of
the gain, the student, and the best member. A refit has the score of its twin and costs as much, so it has no row.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

import ensemble
from ensemble.config import DataSettings
from ensemble.core.files import write_bytes
from ensemble.data import open_dataset
from ensemble.inference.hardware import cpu_name
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.member import Member

RESULTS = Path(__file__).resolve().parents[1] / "results"
MEMBERS = (
    ("unet(filters=16)", "ce"),
    ("unet(filters=16)", "weighted-ce"),
    ("linknet(encoder=resnet18)", "ce"),
    ("pspnet", "weighted-ce"),
)
COMMON: dict[str, Any] = {"val_fraction": 0.26, "augment": "flips", "epochs": 5, "optimiser": "adamw"}
STUDENT: dict[str, Any] = {"arch": "unet(filters=16)", "epochs": 10, "inner_folds": 3, "optimiser": "adamw"}
METHOD = "learned"
KEEP = 0.95
IMAGES = 64  # images that are timed, one at a time
Model = Member | Ensemble


def print_progress(task: str, done: int, total: int, note: str = "", /) -> None:
    """Print a line that moves."""
    print(f"\r{task} {done}/{total} {note}", end="" if done < total else "\n", flush=True)


def forms(data: str, runs: Path) -> dict[str, Model]:
    """Return the forms of the model by name, the full ensemble first; train and combine what is missing."""
    shared: dict[str, Any] = {"progress": print_progress}
    members = [ensemble.train(data, arch=arch, loss=loss, out=runs, **COMMON, **shared) for arch, loss in MEMBERS]
    common: dict[str, Any] = {"method": METHOD, "runs": runs, **shared}
    full = ensemble.combine(members, **common).ensemble
    budget = ensemble.measure_budget("1GFLOPs", members, runs=runs)
    half = replace(budget, limit=sum(budget.costs.values()) / 2)
    best = max(members, key=lambda member: member.scores["miou"])
    return {
        "ensemble": full,
        "half of the operations": ensemble.combine(members, within=half, **common).ensemble,
        "cascade": ensemble.combine(members, keep_gain=KEEP, **common).ensemble,
        "student": ensemble.distil(full.path, runs=runs, **STUDENT, **shared).member,
        "best member": best,
    }


def seconds_and_bytes(models: Mapping[str, Model], data: str) -> tuple[dict[str, float], dict[str, int]]:
    """Return the median seconds of one image, all models in turn, and the bytes of each bundle."""
    dataset = open_dataset(DataSettings(source=data))
    images = [dataset.image(row) for row in range(min(IMAGES, len(dataset.ids)))]
    with tempfile.TemporaryDirectory() as folder:
        files = {
            name: ensemble.bundle(model.path, Path(folder) / f"{place}.ens", latency=False).path
            for place, (name, model) in enumerate(models.items())
        }
        loaded = {name: ensemble.load(file) for name, file in files.items()}
        times: dict[str, list[float]] = {name: [] for name in models}
        for image in [*images[:3], *images]:
            for name, predictor in loaded.items():
                start = time.perf_counter()
                predictor(image)
                times[name].append(time.perf_counter() - start)
        return {name: median(each[3:]) for name, each in times.items()}, {
            name: file.stat().st_size for name, file in files.items()
        }


def rows_of(models: Mapping[str, Model], data: str) -> list[dict[str, Any]]:
    """Return a row per form."""
    (full, *_), best = models.values(), models["best member"]
    found = ensemble.compare_runs([model.path for model in models.values()], progress=print_progress)
    differences = {(one.a, one.b): one.estimate for one in found.differences if one.score == "mIoU"}
    seconds, sizes = seconds_and_bytes(models, data)
    gain = best.scores["log_loss"] - full.scores["log_loss"]
    rows: list[dict[str, Any]] = []
    for name, model in models.items():
        row: dict[str, Any] = {"form": name, "ms": 1000 * seconds[name], "bytes": sizes[name]}
        row |= {key: model.scores[key] for key in ("miou", "miou_low", "miou_high", "log_loss")}
        row["gain_kept"] = (best.scores["log_loss"] - model.scores["log_loss"]) / gain
        if model is not full:
            pair = differences[full.name, model.name]
            row |= {"difference": -pair.difference, "low": -pair.high, "high": -pair.low}
        rows.append(row)
    return rows


def write(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the table with its conditions, and print it."""
    table = pd.DataFrame(rows).assign(cpu=cpu_name(), date=time.strftime("%Y-%m-%d"))
    write_bytes(path, table.to_csv(index=False, lineterminator="\n", float_format="%.6g").encode())
    print(table.round(4).to_string(index=False))


def main() -> None:
    """Train, combine, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mars", help="mars.npz")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, default=RESULTS / "deliver.csv")
    given = parser.parse_args()
    write(rows_of(forms(given.mars, given.runs), given.mars), given.out)


if __name__ == "__main__":
    main()

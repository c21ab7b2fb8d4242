"""Greedy selection of members on mIoU: ours against AutoGluon's `EnsembleSelection` on the same pixels.

Usage:
    python -m venv autogluon && autogluon/bin/pip install autogluon.core
    python experiments/benchmarks/greedy.py RUNS --autogluon-python autogluon/bin/python \
        --out experiments/results/greedy.csv

Members of RUNS; half of the image groups, drawn by --seed, are selected on, the other half are what `miou_held_out` is
about: one split decides nothing there. AutoGluon gets a mIoU by NumPy's bincount as its metric, 25 rounds as ours, and
its tie-breakers and sample size as they come. Ours runs without bags, which is the same task, and with its 10 bags, as
users get it. Every run is a process of its own on one thread; programs take turns; seconds are of the selection alone.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from measuring import conditions, run_program, write_table
from numpy.typing import NDArray

from ensemble.combining.alignment import align
from ensemble.combining.arithmetic import first_class
from ensemble.combining.fit_data import FitData, gather_fit_data
from ensemble.combining.methods.greedy import MOST
from ensemble.evaluation.confusion import mean_iou
from ensemble.runs.folder import find_members
from ensemble.runs.member import Member

ROUNDS = 25
OURS = f"""
import numpy as np
from ensemble.combining import COMBINERS
from ensemble.combining.fit_data import FitData
with np.load(sys.argv[1]) as file:
    evidence = FitData(file["probs"], file["images"], file["labels"], file["groups"])
start, cpu = time.perf_counter(), time.process_time()
pool = COMBINERS.create("greedy", evidence, steps={ROUNDS}, bags=int(sys.argv[2]))
used = time.perf_counter() - start, time.process_time() - cpu
print(json.dumps([*used, peak_megabytes(), pool.weights_m.tolist()]))
"""
AUTOGLUON = f"""
import numpy as np
from autogluon.core.metrics import make_scorer
from autogluon.core.models.greedy_ensemble.ensemble_selection import EnsembleSelection
with np.load(sys.argv[1]) as file:
    predictions = [np.ascontiguousarray(probs_cp.T) for probs_cp in file["probs"]]
    labels = file["labels"].astype(np.int64)
def mean_iou(truth, decided):
    k = predictions[0].shape[1]
    table = np.bincount(truth * k + decided, minlength=k * k).reshape(k, k)
    union = table.sum(0) + table.sum(1) - table.diagonal()
    return float((table.diagonal()[union > 0] / union[union > 0]).mean())
metric = make_scorer(name="miou", score_func=mean_iou, optimum=1, greater_is_better=True, needs_pred=True)
start, cpu = time.perf_counter(), time.process_time()
found = EnsembleSelection({ROUNDS}, "multiclass", metric).fit(predictions, labels)
used = time.perf_counter() - start, time.process_time() - cpu
print(json.dumps([*used, peak_megabytes(), found.weights_.tolist()]))
"""
SHOWN = ("tool", "seconds", "times_faster_by_seconds", "times_faster_by_cpu_seconds", "miou", "miou_held_out")


def halves(evidence: FitData, pixels: int, seed: int) -> tuple[FitData, FitData]:
    """FitData of two halves of the image groups, each of about so many pixels at most."""
    groups = np.unique(evidence.group_n)
    chosen = np.random.default_rng(seed).choice(groups, len(groups) // 2, replace=False)
    first_n = np.isin(evidence.group_n, chosen)
    return evidence.of_images(first_n).thin(pixels), evidence.of_images(~first_n).thin(pixels)


def score(evidence: FitData, weights_m: NDArray[np.float64]) -> float:
    """MIoU of the weighted average."""
    pooled_cp = np.tensordot(weights_m, evidence.probs_mcp.astype(np.float64), 1)
    return float(mean_iou(evidence.confusions_gkk(first_class(pooled_cp[None])[0]).sum(0)))


def measure(parts: tuple[FitData, FitData], folder: Path, plan: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    """A row per tool: median seconds over the repetitions and the mIoU of what it selected."""
    fit, held_out = parts
    file = folder / f"{seed}.npz"
    np.savez(file, probs=fit.probs_mcp, images=fit.image_p, labels=fit.labels_p, groups=fit.group_n)
    tools = {
        "AutoGluon EnsembleSelection": (AUTOGLUON, (), {"python": plan.autogluon_python}),
        "ens-toolkit greedy, no bags": (OURS, (1,), {}),
        "ens-toolkit greedy, 10 bags": (OURS, (10,), {}),
    }
    runs: dict[str, list[Any]] = {name: [] for name in tools}
    for _ in range(plan.repeat):
        for name, (program, arguments, options) in tools.items():
            runs[name].append(run_program(program, file, *arguments, **options))
    rows: list[dict[str, Any]] = []
    for name, each in runs.items():
        seconds, cpu_seconds, peak = np.median([run[:3] for run in each], axis=0).tolist()
        weights_m = np.array(each[0][3])
        row: dict[str, Any] = {
            "tool": name,
            "seed": seed,
            "members": fit.members,
            "classes": fit.classes,
            "pixels": fit.pixels,
        }
        row |= {"rounds": ROUNDS, "repetitions": plan.repeat, "seconds": round(seconds, 4)}
        row |= {"cpu_seconds": round(cpu_seconds, 4), "peak_megabytes": peak}
        for clock in ("seconds", "cpu_seconds"):
            row[f"times_faster_by_{clock}"] = round([*rows, row][0][clock] / row[clock], 2)
        row |= {"miou": round(score(fit, weights_m), 6), "miou_held_out": round(score(held_out, weights_m), 6)}
        rows.append(row | {"weights": " ".join(f"{weight:.4f}" for weight in weights_m)})
    return rows


def main() -> None:
    """Measure and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder whose members are selected from")
    parser.add_argument("--autogluon-python", type=Path, required=True, help="Python of an environment with autogluon")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--pixels", type=int, default=MOST, help="pixels to select on; ours looks at no more")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seed", type=int, nargs="+", default=[0, 1, 2], help="draws of the half to select on")
    plan = parser.parse_args()
    members = [Member.open(path) for path in sorted(find_members(plan.runs))[: plan.members]]
    evidence = gather_fit_data(align(members))
    version = "from importlib.metadata import version; print(json.dumps(version('autogluon.core')))"
    common = conditions(("numpy",)) | {"autogluon": run_program(version, python=plan.autogluon_python)}
    common |= {"of_members": " ".join(member.name for member in members)}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in plan.seed:
            rows += [row | common for row in measure(halves(evidence, plan.pixels, seed), Path(folder), plan, seed)]
            write_table(plan.out, rows, SHOWN)


if __name__ == "__main__":
    main()

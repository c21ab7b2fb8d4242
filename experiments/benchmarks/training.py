"""Training, side by side: our engine, two loops written by hand, and Lightning with segmentation-models-pytorch.

Usage:
    pip install lightning
    python experiments/benchmarks/training.py mars.npz --out experiments/results/training.csv [--to-miou 0.5]

Every contestant trains the same architecture on the same images in the same order with AdamW, one learning-rate
schedule, cross-entropy without void, and flips of both axes; each run is a separate process, and contestants take
turns.
"ours": what `ens train` does in every step, with gradient clipping and EMA weights; "ours-fp32": the same in fp32;
"ours-compiled" (only where asked for): the same through `torch.compile`, which takes a C++ compiler and half a minute.
"hand-fp32", "hand-bf16": minimal loops of plain PyTorch on tensors in memory, without clipping and EMA; the second with
bf16 autocast, channels_last and the fused AdamW.
"lightning": a LightningModule as in the examples of segmentation-models-pytorch, less its metrics, on networks built by
that library where it has the architecture (column `network`), with a DataLoader and a Trainer with their defaults (fp32
on a CPU); --workers gives the loader processes. Left out with a warning where lightning is not installed.

images/s are of the steps after a warm-up, whole steps with their data, without the first step of an epoch, into which
evaluation and checkpoints fall; medians over the rounds. Ratios are medians of those within a round; `best_hand_loop`
is the faster of the two by its median. `share_of_peak` is the operations of a forward and a backward pass (as PyTorch
counts them) times images/s over the most that a convolution reached in this run in the contestant's precision.
`cores_used` tells whether other work ran beside. With --to-miou the contestants of --racer also train until the
validation images, predicted every half epoch outside the clock, reach that mean IoU; ours with its EMA weights; every
race has its own seed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contestants import CONTESTANTS, SMP
from measuring import conditions, positive, run_program, spread, write_table

from ensemble.architectures import ARCHITECTURES
from ensemble.config import DataSettings
from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.files import check_folder
from ensemble.data import open_dataset

CHILD = """
sys.path.insert(0, sys.argv[1])
import timing
found = getattr(timing, sys.argv[2])(json.loads(sys.argv[3]))
print("\\n" + json.dumps(found | {"peak_megabytes": peak_megabytes()}))
"""
DEFAULT = tuple(name for name in CONTESTANTS if name != "ours-compiled")
RACERS = ("ours", "hand-bf16", "lightning")
ARCHS = ("unet-baseline", "attention-unet", *SMP)
SHOWN = (
    *("architecture", "contestant", "precision", "images_per_second", "to_best_hand_loop", "to_lightning"),
    *("share_of_peak", "peak_megabytes", "seconds_to_miou", "reached", "cores_used"),
)
Record = Mapping[str, Any]


def measure(function: str, task: Record, threads: int | None) -> dict[str, Any]:
    """Call a function of ``timing`` in a process of its own."""
    return run_program(CHILD, Path(__file__).parent, function, json.dumps(task), threads=threads)


def ratios(speeds: Mapping[str, Sequence[float]], contestant: str) -> dict[str, Any]:
    """How many times the speed of the best loop written by hand, and of Lightning, round by round."""
    hands = [name for name in speeds if name.startswith("hand")]
    best = max(hands, key=lambda name: statistics.median(speeds[name]), default=None)
    rivals = {"to_best_hand_loop": best, "to_lightning": "lightning" if "lightning" in speeds else None}
    found: dict[str, Any] = {"best_hand_loop": best}
    for column, rival in rivals.items():
        if rival is not None:
            pairs = zip(speeds[contestant], speeds[rival], strict=True)
            found |= spread((mine / other for mine, other in pairs), column, 3)
    return found


def raced(races: Sequence[Record]) -> dict[str, Any]:
    """Median seconds to the goal (none where half of the races did not reach it) and how many reached it."""
    if not races:
        return {}
    seconds = sorted(race["seconds_to_miou"] or float("inf") for race in races)
    middle = statistics.median(seconds)
    reached = [value for value in seconds if value < float("inf")]
    return {
        "goal_miou": races[0]["goal"],
        "seconds_to_miou": round(middle, 1) if middle < float("inf") else None,
        "seconds_to_miou_min": round(reached[0], 1) if reached else None,
        "seconds_to_miou_max": round(reached[-1], 1) if len(reached) == len(seconds) else None,
        "reached": f"{len(reached)} of {len(seconds)}",
        "cap_seconds": races[0]["cap"],
        "miou_at_the_end": round(statistics.median(race["miou"] for race in races), 4),
    }


def rows_of(records: Sequence[Record], costs: Mapping[str, Record]) -> list[dict[str, Any]]:
    """A row per architecture and contestant from all runs so far.

    Args:
        records: what ``timing.run`` returned, with the task.
        costs: what ``timing.costs`` returned for each architecture; the best peak of all counts.
    """
    peaks = {kind: max(cost["peaks"][kind] for cost in costs.values()) for kind in ("fp32", "bf16")}
    rows: list[dict[str, Any]] = []
    for arch, cost in costs.items():
        here = [record for record in records if record["arch"] == arch]
        names = dict.fromkeys(record["contestant"] for record in here)
        timed = {name: [r for r in here if r["contestant"] == name and r["goal"] is None] for name in names}
        speeds = {name: [run["images_per_second"] for run in runs] for name, runs in timed.items()}
        for name, runs in timed.items():
            peak = peaks[runs[0]["precision"]]
            shares = (run["images_per_second"] * cost["operations"] / peak for run in runs)
            by_smp = name == "lightning" and arch in SMP
            row = {"architecture": arch, "contestant": name, "precision": runs[0]["precision"]}
            row |= {"network": "segmentation-models-pytorch" if by_smp else "ours"}
            row |= (
                spread(speeds[name], "images_per_second", 2) | ratios(speeds, name) | spread(shares, "share_of_peak", 4)
            )
            row |= {"peak_gigaflops": round(peak / 1e9, 1), "training_gflops": round(cost["operations"] / 1e9, 4)}
            row |= {
                key: round(statistics.median(run[key] for run in runs), 2) for key in ("peak_megabytes", "cores_used")
            }
            before = statistics.median(run["megabytes_before"] for run in runs)
            row |= {"megabytes_over_libraries_and_data": round(row["peak_megabytes"] - before, 1)}
            row |= raced([r for r in here if r["contestant"] == name and r["goal"] is not None])
            row |= {key: cost[key] for key in ("parameters", "image_size", "training_images")}
            keys = ("batch_size", "warmup", "steps", "workers", "threads")
            rows.append(row | {key: runs[0][key] for key in keys} | {"rounds": len(runs)})
    return rows


def check(plan: argparse.Namespace) -> list[str]:
    """The contestants that can run; a mistake in a name or the data is found before anything trains."""
    for arch in plan.arch:
        if arch not in ARCHITECTURES:
            raise UnknownName("architecture", arch, ARCHITECTURES)
    open_dataset(DataSettings(source=plan.data))
    check_folder(plan.out.absolute().parent)
    present = importlib.util.find_spec("lightning") is not None
    if not present and "lightning" in plan.contestant:
        sys.stderr.write("warning: lightning is not installed and left out; pip install lightning\n")
    return [name for name in plan.contestant if present or name != "lightning"]


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="an npz file, a folder with images/ and masks/, or 'sample'")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arch", action="append", help=f"repeatable; {', '.join(ARCHS)} where left out")
    parser.add_argument("--contestant", action="append", choices=CONTESTANTS, help=f"repeatable; {', '.join(DEFAULT)}")
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--steps", type=positive, default=40, help="timed in each run")
    parser.add_argument("--warmup", type=positive, default=8, help="steps before them")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=positive, default=10, help="length of the learning-rate schedule")
    parser.add_argument("--workers", type=int, default=0, help="processes of Lightning's loader")
    parser.add_argument("--threads", type=positive, help="what torch takes where left out")
    parser.add_argument("--to-miou", type=float, help="also race to this mean IoU, such as 0.5")
    parser.add_argument("--racer", action="append", choices=CONTESTANTS, help=f"repeatable; {', '.join(RACERS)}")
    parser.add_argument("--races", type=positive, default=1, help="races of each contestant, each with another seed")
    parser.add_argument("--cap", type=float, default=600.0, help="seconds after which a race is given up")
    plan = parser.parse_args()
    plan.arch, plan.contestant = plan.arch or [*ARCHS], plan.contestant or [*DEFAULT]
    try:
        plan.contestant = check(plan)
    except EnsError as error:
        parser.error(str(error))
    return plan


def main() -> None:
    """Let the contestants take turns, and write the CSV after every architecture."""
    plan = arguments()
    common = conditions(("torch", "segmentation-models-pytorch", *(["lightning"] * ("lightning" in plan.contestant))))
    del common["threads"]  # each run says its own
    racers = [name for name in plan.racer or RACERS if name in plan.contestant]
    fields = ("data", "batch_size", "epochs", "warmup", "steps", "workers", "cap")
    task = {name: getattr(plan, name) for name in fields}
    turns = [(name, None, seed) for seed in range(plan.rounds) for name in plan.contestant]
    if plan.to_miou is not None:
        turns += [(name, plan.to_miou, seed) for seed in range(plan.races) for name in racers]
    records: list[dict[str, Any]] = []
    costs: dict[str, dict[str, Any]] = {}
    for arch in plan.arch:
        costs[arch] = measure("costs", task | {"arch": arch, "seed": 0}, plan.threads)
        for name, goal, seed in turns:
            one = task | {"arch": arch, "contestant": name, "goal": goal, "seed": seed}
            records.append(one | measure("run", one, plan.threads))
            sys.stdout.write(f"{arch} {name} {told(records[-1])}\n")
            sys.stdout.flush()
        rows = [row | common | {"data": Path(plan.data).name} for row in rows_of(records, costs)]
        write_table(plan.out, rows, [name for name in SHOWN if any(name in row for row in rows)])


def told(record: Record) -> str:
    """One run in words."""
    if record["goal"] is None:
        return f"round {record['seed'] + 1}: {record['images_per_second']:.1f} images/s"
    seconds = record["seconds_to_miou"]
    return f"race {record['seed'] + 1}: " + (
        f"mIoU {record['miou']:.3f} after {seconds:.0f} s" if seconds else f"mIoU {record['miou']:.3f}, not reached"
    )


if __name__ == "__main__":
    main()

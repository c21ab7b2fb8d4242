"""Whether processes that work on the same runs at the same time disturb each other (POSIX only, for it forks).

Usage: python experiments/benchmarks/at_once.py --out experiments/results/at-once.csv [--rounds 10] [--seed 0]
- Two trainings of one member: one trains it, the other one says so or finds it finished; the member has the same bits
  as that of a single training.
- `ens remove` of a member that is being trained: it is refused, and the training ends as if nothing had happened; or it
  came too late, removes the finished member, and the same training makes it again.
- Eight readers (four times `ens results`, twice `ens verify`, twice `ens combine`), again and again while six members
  are trained: verify finds no damage, the table shows finished members with the scores that they have at the end, and
  every ensemble is the one that an undisturbed `ens combine` makes of the same members.
One row per process or reader; exit code 1 if anything differs, is left over, or ends in a traceback.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # before torch: forks of a
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # process with threads are not safe

import argparse
import importlib
import json
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from disturbance import Runner
from kill_bench import different, extra
from kill_cases import NETWORK, SETTINGS, make_data
from kill_contents import finished_runs, names_in

from ensemble.core.files import write_bytes
from ensemble.inference.hardware import cpu_name

Rows = Iterator[dict[str, Any]]
READERS = {"results": ["results", "--json"], "verify": ["verify"], "combine": ["combine", "--method", "average"]}
TURNS = ("results", "results", "results", "results", "verify", "verify", "combine", "combine")
LOSSES = ("ce", "dice", "focal", "tversky", "lovasz", "jaccard")
LIBRARIES = ("ensemble.training.train", "ensemble.data.augmentation.steps", "ensemble.combining.combine")


class Place:
    """Folders for runs, and the training that all of them repeat."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count, self.data = folder, 0, make_data(folder)
        place, runner = self.new(), self.runner()
        self.seconds = -time.perf_counter()
        if runner.run(self.train(place), place):
            sys.exit(runner.output)
        self.seconds += time.perf_counter()
        self.reference, self.names = finished_runs(place), names_in(place)
        self.member = next(iter(self.reference)).partition("/")[0]

    def new(self) -> Path:
        """Return a new folder."""
        self.count += 1
        (self.folder / str(self.count)).mkdir()
        return self.folder / str(self.count)

    def runner(self) -> Runner:
        """Return a runner with its own notes."""
        return Runner(self.new())

    def train(self, place: Path, loss: str = "ce") -> list[str]:
        """Return the command that trains a member."""
        command = ["train", str(self.data), "--arch", NETWORK, "--loss", loss, *SETTINGS.split(), "--epochs", "2"]
        return [*command, "--out", str(place / "runs"), "--quiet"]

    def row(self, what: str, moment: float, command: str, code: int | None, runner: Runner, place: Path) -> Any:
        """Return what a process said, without the folder, and whether that is one line."""
        said = runner.output.replace(str(place), "OUT")
        fault = code not in (0, 2) or "Traceback" in said or "Warning" in said or said.count("\n") > 0
        return {"what": what, "moment": f"after {moment:.2f} s", "command": command, "exit_code": code, "said": said,
                "fault": fault}  # fmt: skip

    def end(self, place: Path) -> dict[str, Any]:
        """Return how the results differ from those of a single training."""
        end, names = finished_runs(place), names_in(place)
        missing = sorted(self.reference.keys() - end)
        differs, left_over = different(end, self.reference) + missing, extra(names, self.names)
        found = {"differs": ", ".join(differs), "left_over": ", ".join(left_over)}
        return found | {"fault": bool(differs or left_over)}


def two_trainings(world: Place, rounds: int, generator: random.Random) -> Rows:
    """Train the same member in two processes."""
    for _ in range(rounds):
        place, first, second, moment = world.new(), world.runner(), world.runner(), generator.uniform(0, world.seconds)
        one = first.start(world.train(place), place)
        time.sleep(moment if generator.random() < 0.7 else 0)
        two = second.start(world.train(place), place)
        for process in (one, two):
            process.join()
        rows = [
            world.row("two trainings", moment, "train", process.exitcode, runner, place)
            for process, runner in ((one, first), (two, second))
        ]
        rows[1] |= {**(end := world.end(place)), "fault": rows[1]["fault"] or end["fault"]}
        rows[0]["fault"] |= [row["exit_code"] for row in rows].count(0) == 0
        yield from rows


def removals(world: Place, rounds: int, generator: random.Random) -> Rows:
    """Remove a member while it is trained, and train it again."""
    for _ in range(rounds):
        place, first, second, moment = world.new(), world.runner(), world.runner(), generator.uniform(0, world.seconds)
        training = first.start(world.train(place), place)
        time.sleep(moment)
        code = second.run(["remove", world.member, "--yes", "--quiet", "--runs", str(place / "runs")], place)
        training.join()
        row = world.row("remove while training", moment, "remove", code, second, place)
        yield world.row("remove while training", moment, "train", training.exitcode, first, place)
        again = first.run(world.train(place), place)
        yield {**row, **(end := world.end(place)), "fault": row["fault"] or end["fault"] or again != 0}


def read(kind: str, place: Path, notes: Path, stop: Path) -> None:
    """Run a command again and again until the file ``stop`` exists; keep what it said."""
    os.nice(5)  # the machine may have fewer cores than readers, and the training must go on
    runner, said = Runner(notes), dict[str, int]()
    count, tables = 0, list[Any]()
    while not stop.exists():
        code, output = runner.run([*READERS[kind], "--runs", str(place / "runs")], place), runner.output
        count += 1
        if kind == "results" and code == 0:
            tables.append(json.loads(output))
            output = ""
        text = f"{code}: {output.replace(str(place), 'OUT')}"
        said[text] = said.get(text, 0) + 1
    (notes / "said.json").write_text(json.dumps({"count": count, "said": said, "tables": tables}))


def eight_readers(world: Place) -> Rows:
    """Read and combine while six members are trained one after another."""
    place, stop = world.new(), world.folder / "stop"
    (place / "runs" / "members").mkdir(parents=True)
    notes, context = [world.new() for _ in TURNS], multiprocessing.get_context("fork")
    readers = [
        context.Process(target=read, args=(kind, place, note, stop)) for kind, note in zip(TURNS, notes, strict=True)
    ]
    for reader in readers:
        reader.start()
    runner = world.runner()
    for loss in LOSSES:
        if runner.run(world.train(place, loss), place):
            sys.exit(runner.output)
    time.sleep(2 * world.seconds)
    stop.touch()
    for reader in readers:
        reader.join()
    found = finished_runs(place)
    scores = {name.partition("/")[0]: json.loads(str(value, "utf-8"))["miou"] for name, value in found.items()
              if name.endswith("scores.json") and isinstance(value, bytes)}  # fmt: skip
    for number, (kind, note) in enumerate(zip(TURNS, notes, strict=True), 1):
        heard = json.loads((note / "said.json").read_text())
        wrong = sum(scores.get(row["name"]) != row["miou"] for table in heard["tables"] for row in rows_of(table))
        bad = [text for text in heard["said"] if "Traceback" in text or "damaged" in text or "differs" in text]
        bad += [text for text in heard["said"] if kind == "verify" and text.startswith("1:")]
        said = "; ".join(f"{text} ({times} times)" for text, times in heard["said"].items() if not text.endswith(": "))
        yield {"what": f"reader {number} of 8", "command": f"{kind}, {heard['count']} times", "said": said,
               "differs": f"{wrong} wrong scores" if wrong else "", "fault": bool(bad or wrong)}  # fmt: skip
    yield same_ensembles(world, place)


def rows_of(table: Any) -> list[dict[str, Any]]:
    """Return the rows of the table that ``ens results --json`` prints."""
    return table["rows"] if isinstance(table, dict) else table


def same_ensembles(world: Place, place: Path) -> dict[str, Any]:
    """Make every ensemble again of the same members in another folder, and compare."""
    other, runner, found = world.new(), world.runner(), finished_runs(place)
    shutil.copytree(place / "runs" / "members", other / "runs" / "members")
    configs = sorted((place / "runs" / "ensembles").glob("*/config.json"))
    for config in configs:
        members = json.loads(config.read_text())["settings"]["members"]
        command = ["combine", *members, "--method", "average", "--runs", str(other / "runs")]
        if runner.run(command, other):
            sys.exit(runner.output)
    again = finished_runs(other)
    differs, left_over = different(found, again), [name for name in names_in(place) if name.endswith(".tmp")]
    return {"what": "ensembles of the readers", "command": f"{len(configs)} ensembles", "differs": ", ".join(differs),
            "left_over": ", ".join(left_over), "fault": bool(differs or left_over or not configs)}  # fmt: skip


def main() -> int:
    """Run all of them, write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for library in LIBRARIES:
        importlib.import_module(library)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        world, generator = Place(Path(folder)), random.Random(arguments.seed)
        parts = [two_trainings(world, arguments.rounds, generator), removals(world, arguments.rounds, generator)]
        for row in (row for part in [*parts, eight_readers(world)] for row in part):
            rows.append(row)
            print("FAULT" if row["fault"] else "ok", row, flush=True)
            frame = pd.DataFrame(rows).convert_dtypes().assign(cpu=cpu_name())
            write_bytes(arguments.out, frame.to_csv(index=False, lineterminator="\n").encode())
    return int(any(row["fault"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())

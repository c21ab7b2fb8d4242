"""Whether a training loses anything when it is killed or the disk fills up (POSIX only, for it forks).

Usage: python experiments/benchmarks/kill_test.py --out experiments/results/kill-test.csv [--kills 20] [--seed 0]
A small member is trained once without interruption; every synchronisation, renaming and removal of a file is counted.
Then it is trained again and again in a new folder and killed with SIGKILL once: at one of these calls (at a
synchronisation the file is cut to its half first, for until then the system promises nothing about its content), or
at a random time. The same command follows, and every file is compared with the uninterrupted run's. A checkpoint is
written after every step, so that most kills fall into an epoch. Two rows are controls: the same command again (equal),
and another seed (not equal). Then the disk fills up: files may not grow beyond a size, and, where root can mount a
tmpfs, it is filled at some calls; the command must end with one sentence, and go on when there is room again. One row
per run; exit code 1 where a run lost something.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: forks of a process with threads are not safe
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import argparse
import csv
import importlib
import json
import multiprocessing
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ensemble.cli import app
from ensemble.core.files import write_bytes
from ensemble.data.formats.sample.terrain import draw_sample
from ensemble.inference.hardware import cpu_name
from ensemble.runs.member import Member
from ensemble.runs.status import read_status
from ensemble.runs.verify import verify
from ensemble.training import loop
from ensemble.training.checkpoint import load_checkpoint

CALLS = ("fsync", "replace", "unlink")
FIRST = ("fsync checkpoint", "fsync chunk", "fsync status", "replace checkpoint", "replace manifest", "fsync manifest")
TIMED = ("seconds", "images_per_second")  # columns of history.csv
TOLD = ("status.json", "log.txt", "environment.json", "history.csv")  # files in which times and machines stand
LIBRARIES = (
    "ensemble.training.train",
    "ensemble.data.augmentation.expression",
    "ensemble.training.train",
    "torch._dynamo",
)  # loaded before forking
FILLER = "filler"
Rows = Iterator[dict[str, Any]]
EPOCHS, FOLDS = 3, 2
COMMAND = (
    f"--arch unet-baseline(filters=2,depth=1) --loss ce --epochs {EPOCHS} --folds {FOLDS}"
    " --batch-size 16 --device cpu --precision fp32 --deterministic"
)


@dataclass(frozen=True)
class Trouble:
    """What happens to a run: SIGKILL at a call or after seconds, a full disk from a call on, a limit in bytes."""

    kill_at: int = 0
    kill_after: float | None = None
    fill_at: int = 0
    largest_file: int = resource.RLIM_INFINITY


class Calls:
    """Counts calls that change files, and makes trouble at one of them."""

    def __init__(self, trouble: Trouble, runs: Path) -> None:
        self.trouble, self.runs = trouble, runs
        self.seen: list[str] = []
        for name in CALLS:
            setattr(os, name, self._counted(name, getattr(os, name)))

    def _counted(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            if name == "unlink" and not Path(arguments[0]).exists():  # a temporary name that was renamed
                return original(*arguments, **more)
            self.seen.append(f"{name} {_file(name, arguments)}")
            if len(self.seen) == self.trouble.kill_at:
                if name == "fsync" and not self.seen[-1].endswith("folder"):
                    os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            if len(self.seen) == self.trouble.fill_at:
                with suppress(OSError), (self.runs / FILLER).open("wb", buffering=0) as stream:
                    while True:
                        stream.write(bytes(1 << 10))
            return original(*arguments, **more)

        return call


def _file(name: str, arguments: tuple[Any, ...]) -> str:
    """Name of the file that a call is about, without the numbers and the random part of a temporary name."""
    path = Path(f"/proc/self/fd/{arguments[0]}").resolve() if name == "fsync" else Path(arguments[name == "replace"])
    if name == "fsync" and path.is_dir():
        return "folder"
    return re.sub(r"-f?\d+(?=\.)", "", re.sub(r"^\.(.+)\.[^.]+\.tmp$", r"\1", path.name))


def _train(command: list[str], trouble: Trouble, runs: Path, notes: Path) -> None:
    """What a forked process does: the command, as if typed."""
    with (notes / "output.txt").open("w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    loop.CHECKPOINT_SECONDS = 0.0
    calls = Calls(trouble, runs)
    resource.setrlimit(resource.RLIMIT_FSIZE, (trouble.largest_file, resource.RLIM_INFINITY))
    try:
        app(command)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        (notes / "calls.json").write_text(json.dumps(calls.seen))


NONE = Trouble()


class Bench:
    """Runs of one command, each in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        for name in LIBRARIES:
            importlib.import_module(name)
        drawn = draw_sample(n_train=96, n_test=16, height=32, width=64)
        arrays: dict[str, Any] = {
            name: getattr(drawn, name) for name in ("training_set", "test_set", "training_groups")
        }
        self.data = folder / "sample.npz"
        np.savez(self.data, **arrays, classes=np.array(["background", *drawn.classes]))

    def new(self) -> Path:
        """A new folder for runs."""
        self.count += 1
        (self.folder / str(self.count)).mkdir()
        return self.folder / str(self.count)

    def run(self, runs: Path, more: str = "", trouble: Trouble = NONE) -> int | None:
        """Train in ``runs`` and return the exit code, which is negative for a signal."""
        command = ["train", str(self.data), *COMMAND.split(), *more.split(), "--out", str(runs), "--quiet"]
        process = multiprocessing.get_context("fork").Process(target=_train, args=(command, trouble, runs, self.folder))
        process.start()
        process.join(trouble.kill_after)
        if process.exitcode is None:
            process.kill()
            process.join()
        return process.exitcode

    @property
    def output(self) -> str:
        """What the last run printed."""
        return (self.folder / "output.txt").read_text()

    @property
    def calls(self) -> list[str]:
        """The calls of the last run that came to an end."""
        return json.loads((self.folder / "calls.json").read_text())


def member_of(runs: Path) -> Path | None:
    """The directory of the one member in ``runs``."""
    return next((runs / "members").iterdir(), None) if (runs / "members").is_dir() else None


def content(path: Path) -> dict[str, object]:
    """Everything in a finished member that must not depend on time, by relative path."""
    files = [file for file in path.rglob("*") if file.is_file()]
    found: dict[str, object] = {
        str(file.relative_to(path)): file.read_bytes() for file in files if file.name not in TOLD
    }
    with (path / "history.csv").open(newline="") as stream:
        found["history.csv"] = [{k: v for k, v in row.items() if k not in TIMED} for row in csv.DictReader(stream)]
    return found


def what_is_left(path: Path | None) -> dict[str, Any]:
    """State of a killed member: what its status tells, and where the next run will go on."""
    if path is None or not (path / "status.json").is_file():
        return {"state": "nothing yet", "told": 0, "goes_on_at": "the start", "kept": 0}
    status = read_status(path)  # a damaged one raises
    told = status.get("fold", 0) * EPOCHS + status.get("epoch", 0)
    finished = len(list(path.glob("weights-f*.safetensors")))
    checkpoint = load_checkpoint(path / f"checkpoint-f{finished}.pt", "cpu")  # a damaged one raises
    if status["state"] == "complete":
        return {"state": "complete", "told": told, "goes_on_at": "the end", "kept": told}
    if checkpoint is not None:
        at = f"fold {finished + 1} epoch {checkpoint['epoch'] + 1} step {checkpoint['step'] + 1}"
        return {
            "state": status["state"],
            "told": told,
            "goes_on_at": at,
            "kept": finished * EPOCHS + checkpoint["epoch"],
        }
    at = "the prediction" if finished == FOLDS else f"the start of fold {finished + 1}"
    return {"state": status["state"], "told": told, "goes_on_at": at, "kept": finished * EPOCHS}


def troubled(
    bench: Bench, reference: dict[str, object], moment: str, trouble: Trouble, runs: Path | None = None
) -> dict[str, Any]:
    """Start a new run, let the trouble end it, look at what is left, go on without trouble, compare."""
    runs = runs or bench.new()
    code, output = bench.run(runs, trouble=trouble), bench.output.strip()
    (runs / FILLER).unlink(missing_ok=True)
    left = what_is_left(member_of(runs))
    damaged = len(verify(runs).problems) if left["state"] != "nothing yet" else 0
    resumed = bench.run(runs)
    path = member_of(runs)
    return {
        "moment": moment,
        "ended_by": "SIGKILL" if code == -signal.SIGKILL else f"exit code {code}",
        "said": output.replace(str(runs), "RUNS"),
        **left,
        "damaged_files": damaged,
        "exit_code": resumed,
        "equal_bits": path is not None and content(Member.open(path).path) == reference,
    }


def choose_calls(seen: list[str], count: int, generator: random.Random) -> list[int]:
    """Numbers of calls (from 1 on), one of every kind of call and file, those of ``FIRST`` before others."""
    kinds: dict[str, list[int]] = {}
    for number, call in enumerate(seen, 1):
        kinds.setdefault(call, []).append(number)
    names = sorted(kinds)
    generator.shuffle(names)
    names.sort(key=lambda name: not name.startswith(FIRST))
    return [generator.choice(kinds[name]) for name in names[:count]]


@contextmanager
def small_disk(folder: Path) -> Generator[Path | None]:
    """A file system of 64 MB in memory, or None where this user may not mount one."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "none", folder], check=False, capture_output=True
    )
    try:
        yield None if mounted.returncode else folder
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", folder], check=True)


def kills(bench: Bench, reference: dict[str, object], seen: list[str], seconds: float, count: int, seed: int) -> Rows:
    """Two thirds of the kills at calls, the others at random times."""
    generator, rows = random.Random(seed), 0
    for number in choose_calls(seen, -(-count * 2 // 3), generator):
        moment = f"call {number} of {len(seen)}: {seen[number - 1]}"
        yield troubled(bench, reference, moment, Trouble(kill_at=number))
        rows += 1
    while rows < count:
        after = generator.uniform(0, seconds)
        row = troubled(bench, reference, f"after {after:.2f} of {seconds:.2f} s", Trouble(kill_after=after))
        if row["ended_by"] == "SIGKILL":  # the machine may be quieter than before, and the run have ended
            yield row
            rows += 1


def full_disks(bench: Bench, reference: dict[str, object], seen: list[str]) -> Rows:
    """Files that cannot grow, and a file system that is full from some call on."""
    for size in (1000, 4000, 30000):
        yield troubled(bench, reference, f"no file beyond {size} bytes", Trouble(largest_file=size))
    for kind in ("replace status", "replace checkpoint", "replace chunk"):
        number = next(
            number for number, call in enumerate(seen, 1) if number > len(seen) // 4 and call.startswith(kind)
        )
        with small_disk(bench.new() / "disk") as disk:
            if disk is not None:
                moment = f"disk full from call {number} of {len(seen)} on: {seen[number - 1]}"
                yield troubled(bench, reference, moment, Trouble(fill_at=number), disk)


def controls(bench: Bench, reference: dict[str, object]) -> Rows:
    """The same command once more, whose bits must be equal, and another seed, whose bits must not."""
    for more, moment in (("", "control: no trouble"), ("--seed 1", "control: no trouble, another seed")):
        runs = bench.new()
        code = bench.run(runs, more)
        yield {"moment": moment, "exit_code": code, "equal_bits": content(member_of(runs) or runs) == reference}


def main() -> int:
    """Kill, compare, write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        runs, start = bench.new(), time.perf_counter()
        if bench.run(runs):
            sys.exit(bench.output)
        seconds, seen, reference = time.perf_counter() - start, bench.calls, content(member_of(runs) or runs)
        for row in chain(
            controls(bench, reference),
            kills(bench, reference, seen, seconds, arguments.kills, arguments.seed),
            full_disks(bench, reference, seen),
        ):
            rows.append(row)
            print(row, flush=True)
    frame = pd.DataFrame(rows).convert_dtypes().assign(command=COMMAND, torch=torch.__version__, cpu=cpu_name())
    write_bytes(arguments.out, frame.to_csv(index=False, lineterminator="\n").encode())
    lost = [row for row in rows[2:] if lost_something(row)]
    print(f"{len(rows) - 2} troubled runs, {len(lost)} of them lost something")
    return int(bool(lost) or [row["equal_bits"] for row in rows[:2]] != [True, False])


def lost_something(row: dict[str, Any]) -> bool:
    """Whether a file was damaged, a finished epoch gone, the end another one, or the error more than a sentence."""
    gone = row["damaged_files"] > 0 or row["kept"] < row["told"] or row["exit_code"] != 0
    return gone or not row["equal_bits"] or "\n" in row["said"]


if __name__ == "__main__":
    sys.exit(main())

"""Run one command again and again, disturb it, run it once more, and compare with the uninterrupted run."""

from __future__ import annotations

import importlib
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from disturbance import FILLER, NONE, Runner, Trouble, small_disk
from kill_cases import Case
from kill_contents import Content, epochs_lost, names_in

from ensemble.core.errors import EnsError
from ensemble.runs.folder import list_runs
from ensemble.runs.layout import is_run
from ensemble.runs.verify import verify

Rows = Iterator[dict[str, Any]]


class Bench:
    """Runs of one command, each in a new folder, compared with the uninterrupted run."""

    def __init__(self, case: Case, runner: Runner, folder: Path) -> None:
        self.case, self.runner, self.folder, self.count = case, runner, folder, 0
        folder.mkdir(parents=True)
        for name in case.libraries:
            importlib.import_module(name)
        place, start = self.new(), time.perf_counter()
        if runner.run(case.command(place), place):
            sys.exit(runner.output)
        self.seconds, self.seen = time.perf_counter() - start, runner.calls
        self.reference, self.names = case.content(place), names_in(place)
        shutil.rmtree(place)

    def new(self) -> Path:
        """Return a new folder for results."""
        self.count += 1
        (self.folder / str(self.count)).mkdir()
        return self.folder / str(self.count)

    def row(self, moment: str, trouble: Trouble = NONE, place: Path | None = None) -> dict[str, Any]:
        """Run the command, let the trouble end it, look at what is left, run it without trouble, and compare."""
        place = place or self.new()
        code, output = self.runner.run(self.case.command(place), place, trouble), self.runner.output
        (place / FILLER).unlink(missing_ok=True)
        left, problems = self.case.content(place), problems_of(place)
        again = self.runner.run(self.case.command(place), place)
        end, names = self.case.content(place), names_in(place)
        row = {
            "command": self.case.name,
            "moment": moment,
            "ended_by": "SIGKILL" if code == -signal.SIGKILL else f"exit code {code}",
            "said": output.replace(str(place), "OUT"),
            "left": f"{len(left)} of {len(self.reference)} results",
            "half": ", ".join([*different(left, self.reference), *problems]),
            "exit_code": again,
            "differs": ", ".join(different(end, self.reference) + sorted(self.reference.keys() - end)),
            "left_over": ", ".join(extra(names, self.names)),
            "traceback": "Traceback" in output + self.runner.output or "Warning" in output + self.runner.output,
        }
        shutil.rmtree(place, ignore_errors=True)
        return row

    def controls(self) -> Rows:
        """The same command once more, and one with other settings, whose results must differ."""
        yield self.row("control: no trouble")
        if self.case.other:
            place = self.new()
            code = self.runner.run([*self.case.command(place), *self.case.other], place)
            differs = different(self.case.content(place), self.reference)
            moment = f"control: {' '.join(self.case.other)}"
            yield {"command": self.case.name, "moment": moment, "exit_code": code, "differs": ", ".join(differs)}

    def kills(self, count: int, generator: random.Random) -> Rows:
        """Two thirds of the kills at calls, the others at random times; of a study half of those hit the child."""
        rows = 0
        for number in choose_calls(self.seen, count * 2 // 3, generator):
            moment = f"call {number} of {len(self.seen)}: {self.seen[number - 1]}"
            yield self.row(moment, Trouble(kill_at=number))
            rows += 1
        while rows < count:
            after = generator.uniform(0, self.seconds)
            if self.case.name == "study" and rows % 2:
                after /= 2
                yield self.row(f"the process that trains, {after:.2f} s old", Trouble(kill_child_after=after))
                rows += 1
                continue
            row = self.row(f"after {after:.2f} of {self.seconds:.2f} s", Trouble(kill_after=after))
            if row["ended_by"] == "SIGKILL":  # the machine may be quieter than before, and the run have ended
                yield row
                rows += 1

    def full_disks(self, generator: random.Random) -> Rows:
        """Files that cannot grow, and a file system that is full from some call on."""
        for size in (300, 30000):
            row = self.row(f"no file beyond {size} bytes", Trouble(largest_file=size))
            if row["ended_by"] != "exit code 0":  # all files may be smaller
                yield row
        for number in (-1, *choose_calls(self.seen, 2, generator)):
            with small_disk(self.new() / "disk") as disk:
                if disk is not None:
                    moment = f"disk full from call {number} of {len(self.seen)} on: {self.seen[number - 1]}"
                    moment = "disk full from the start" if number == -1 else moment
                    yield self.row(moment, Trouble(fill_at=number), disk)


def different(found: Content, reference: Content) -> list[str]:
    """Return the names of results that the uninterrupted run does not have, or has with another content."""
    return sorted(name for name, value in found.items() if name not in reference or reference[name] != value)


def extra(names: list[str], reference: list[str]) -> list[str]:
    """Return the files that the uninterrupted run does not leave; a name may be there several times."""
    rest = list(reference)
    return [name for name in names if name not in rest or rest.remove(name)]


def problems_of(place: Path) -> list[str]:
    """Return what ``ens verify`` finds in the runs of a folder, and how many finished epochs are lost."""
    runs = place / "runs"
    if not any(is_run(path) for path in list_runs(runs)):
        return []
    try:
        lost = epochs_lost(place)
    except EnsError as error:
        return [str(error)]
    return [*verify(runs).problems, *([f"{lost} epochs lost"] if lost else [])]


def choose_calls(seen: list[str], count: int, generator: random.Random) -> list[int]:
    """Return numbers of calls, from 1 on: one of every kind of call and file while there is room, then any."""
    kinds: dict[str, list[int]] = {}
    for number, call in enumerate(seen, 1):
        kinds.setdefault(call, []).append(number)
    one_each = [generator.choice(numbers) for numbers in kinds.values()]
    others = [number for number in range(1, len(seen) + 1) if number not in one_each]
    generator.shuffle(one_each)
    generator.shuffle(others)
    return [*one_each, *others][:count]


def is_fault(row: dict[str, Any]) -> bool:
    """Return whether a run lost something, left something, or said more than a sentence."""
    if row["moment"].startswith("control: -"):
        return not row["differs"]
    sentence = row["ended_by"] == "SIGKILL" or row["said"].count("\n") == 0 or "process that trains" in row["moment"]
    faults = row["half"], row["exit_code"], row["differs"], row["left_over"], row["traceback"], not sentence
    return any(faults)

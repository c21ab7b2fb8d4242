"""How long commands take to start: `ens --help`, `ens results` on 20 members, and `ens train` to its first step.

Usage: python experiments/benchmarks/startup.py --data mars.npz --out experiments/results/startup.csv [--member MEMBER]

Each run is a whole process; medians, after a run that is not counted (it fills the system's cache). The 20 members are
copies, under other seeds and scores, of MEMBER's small files, or of a tiny member trained for this; their index is
removed before each run. `ens train` gets a terminal for its progress bars, and its time ends when the bar of the
training appears, within a tenth of a second after the first step (POSIX only); then it is killed. `imports` are the ten
packages whose modules took longest in one more run under `-X importtime` (which slows it down): each module counts
without those that it imports, the standard library as one package.
"""

from __future__ import annotations

import argparse
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measuring import conditions, positive, spread, write_table
from results_table import build

from ensemble.core.errors import EnsError
from ensemble.core.files import check_folder
from ensemble.runs.folder import find_members
from ensemble.runs.member import Member

MAIN = "from ensemble.cli import main; main()"
MEMBERS = 20
TINY = "--arch unet-baseline(filters=2,depth=1) --loss ce --epochs 1"
IMPORTED = re.compile(rb"import time:\s+(\d+) \|\s+\d+ \|\s*([\w.]+)")
COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
BAR = re.compile(rb"training[^\n.]*?\d+/\d+")  # no name of a module looks like this
SHOWN = ("command", "seconds", "seconds_min", "seconds_max", "goal_seconds", "import_seconds", "imports")


def command_of(arguments: Sequence[str], *flags: str) -> list[str]:
    """`ens` with these arguments, in this Python."""
    return [sys.executable, *flags, "-c", MAIN, *arguments]


def whole(arguments: Sequence[str], *flags: str) -> tuple[float, bytes]:
    """Run a command to its end: seconds, and what it wrote to the standard error."""
    start = time.perf_counter()
    done = subprocess.run(command_of(arguments, *flags), capture_output=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise EnsError(f"ens {' '.join(arguments)} ended with code {done.returncode}: {last_line(done.stderr)}")
    return seconds, done.stderr


def to_first_step(arguments: Sequence[str], *flags: str) -> tuple[float, bytes]:
    """Run `ens train` until it draws the bar of its training: seconds, and what it wrote to the standard error."""
    mine, its = pty.openpty()
    start = time.perf_counter()
    process = subprocess.Popen(
        command_of(arguments, *flags),
        stdout=subprocess.DEVNULL,
        stderr=its,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "200"},
        start_new_session=True,
    )
    os.close(its)
    said = b""
    try:
        while not BAR.search(said):
            try:
                part = os.read(mine, 65536)
            except OSError:  # Linux tells the end of a terminal by an error
                part = b""
            if not part:
                raise EnsError(f"ens {' '.join(arguments)} came to no first step: {last_line(said)}")
            said += part
        return time.perf_counter() - start, said
    finally:
        os.close(mine)
        process.send_signal(signal.SIGKILL)
        process.wait()


def last_line(said: bytes) -> str:
    """The last line with words of what a process wrote, without colours and frames, or that there is none."""
    lines = [line.strip("│╭╰╮╯─ ") for line in COLOURS.sub("", said.decode(errors="replace")).splitlines()]
    return next((line for line in reversed(lines) if line), "it wrote nothing")


def import_seconds(said: bytes) -> Counter[str]:
    """Seconds by package, from what `-X importtime` writes; each module without those that it imports."""
    found: Counter[str] = Counter()
    for microseconds, module in IMPORTED.findall(said):
        package = module.decode().partition(".")[0]
        found["standard library" if package in sys.stdlib_module_names else package] += int(microseconds)
    return Counter({package: total / 1e6 for package, total in found.items()})


def measure(name: str, arguments: Sequence[str], goal: float, runs: int) -> dict[str, Any]:
    """A row: the median of the runs after one that is not counted, and the imports of one more."""
    run = to_first_step if arguments[0] == "train" else whole
    times: list[float] = []
    said = b""
    for turn in range(runs + 2):
        with tempfile.TemporaryDirectory() as folder:
            out = ["--out", folder] if arguments[0] == "train" else []
            seconds, said = run([*arguments, *out], *(["-X", "importtime"] if turn > runs else []))
        times += [seconds] * (1 <= turn <= runs)
    imports = import_seconds(said)
    sys.stdout.write(f"{name}: {sorted(times)[len(times) // 2]:.2f} s\n")
    sys.stdout.flush()
    return {
        "command": name,
        **spread(times, "seconds", 3),
        "goal_seconds": goal,
        "runs": runs,
        "import_seconds": round(imports.total(), 3),
        "imports": ", ".join(f"{package} {seconds:.3f}" for package, seconds in imports.most_common(10)),
    }


def tiny_member(folder: Path) -> Path:
    """Train the smallest member there is."""
    whole(["train", "sample", *TINY.split(), "--quiet", "--out", str(folder)])
    return next(iter(find_members(folder)))


def main() -> None:
    """Measure every command and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="sample", help="what `ens train` is given")
    parser.add_argument("--member", type=Path, help="a finished member whose small files are copied")
    parser.add_argument("--arch", action="append", help="for `ens train`; unet-baseline and linknet where left out")
    parser.add_argument("--runs", type=positive, default=5, help="counted runs of each command")
    parser.add_argument("--out", type=Path, required=True)
    plan = parser.parse_args()
    common = conditions(("torch", "pandas", "typer")) | {"threads": os.environ.get("OMP_NUM_THREADS", os.cpu_count())}
    try:
        check_folder(plan.out.absolute().parent)
        with tempfile.TemporaryDirectory() as folder:
            model = Member.open(plan.member).path if plan.member else tiny_member(Path(folder) / "tiny")
            runs = Path(folder) / "runs"
            build(model, runs, MEMBERS)
            rows = [measure("ens --help", ["--help"], 0.3, plan.runs)]
            shown = ["results", "--runs", str(runs)]
            rows.append(measure(f"ens results ({MEMBERS} members)", shown, 1.5, plan.runs))
            for arch in plan.arch or ["unet-baseline", "linknet"]:
                training = ["train", plan.data, "--arch", arch, "--loss", "ce", "--epochs", "1"]
                rows.append(measure(f"ens train --arch {arch}, to its first step", training, 7.0, plan.runs))
    except EnsError as error:
        parser.error(str(error))
    write_table(plan.out, [row | {"data": Path(plan.data).name} | common for row in rows], SHOWN)


if __name__ == "__main__":
    main()

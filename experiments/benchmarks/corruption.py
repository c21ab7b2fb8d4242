"""What the commands say when a byte of a member, an ensemble or a store is not what was written.

Usage: python experiments/benchmarks/corruption.py --out experiments/results/corruption.csv [--flips 12]
Three tiny members and two ensembles are made from a small sample. Then every file of one member, of its stores and of
one ensemble is flipped (a bit, at ``--flips`` places), cut, emptied, deleted and swapped with the same file of another
run; stores are deleted and swapped, and directories are swapped. After each damage the commands `verify`, `results`,
`combine` and `predict` run as if typed, and are compared with the undamaged runs: ``same`` is the same output, and
``named`` is exit code 1 or 2 with a sentence that names the run, or the same output with a note that names it. Anything
else is wrong: another output without a word, a traceback, a message that names no run, or damage that `verify` calls
intact (unless no command ever reads the file). One row per damage; exit code 1 where a row is wrong.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # the networks are tiny
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from typer.testing import CliRunner

from ensemble.cli import app
from ensemble.core.files import write_bytes
from ensemble.data.formats.sample.terrain import draw_sample
from ensemble.inference.hardware import cpu_name

TINY = ("--arch", "unet-baseline(filters=2,depth=1)", "--loss", "ce", "--epochs", "1", "--batch-size", "16")
CPU = ("--device", "cpu", "--precision", "fp32")
NEVER_READ = ("log.txt", "examples.png")
COMMANDS = ("verify", "results", "combine", "predict")


@dataclass(frozen=True)
class Damage:
    """Something that happens to a path, relative to the folder of runs; ``other`` is what it is swapped with."""

    path: Path
    kind: str
    place: float = 0.0
    other: Path | None = None

    def do(self, runs: Path) -> bool:
        """Damage the path and return whether anything changed."""
        target = runs / self.path
        if self.kind == "deleted":
            shutil.rmtree(target) if target.is_dir() else target.unlink()
        elif self.kind in ("exchanged", "replaced"):
            return _swap(target, runs / str(self.other), both=self.kind == "exchanged")
        else:
            content = bytearray(target.read_bytes())
            if self.kind == "flipped":
                content[int(self.place * (len(content) - 1))] ^= 4
            else:  # cut, emptied
                del content[int(self.place * len(content)) :]
            if self.path.suffix == ".json" and bytes(content).rstrip() == target.read_bytes().rstrip():
                return False  # only the end of the last line is gone
            target.write_bytes(content)
        return True


def _swap(one: Path, other: Path, both: bool) -> bool:
    """Put ``other`` in the place of ``one``, and if ``both``, also ``one`` in the place of ``other``."""
    if one.is_file() and one.read_bytes() == other.read_bytes():
        return False
    aside = one.with_name("aside")
    one.rename(aside)
    (shutil.copytree if other.is_dir() else shutil.copy)(other, one)
    if both:
        shutil.rmtree(other) if other.is_dir() else other.unlink()
        aside.rename(other)
    elif aside.is_dir():
        shutil.rmtree(aside)
    else:
        aside.unlink()
    return True


class Bench:
    """A folder of runs that is whole, a copy of it to damage, and the outputs of the commands on the whole one."""

    def __init__(self, folder: Path) -> None:
        self.whole, self.runs = folder / "whole", folder / "runs"
        self.images, self.masks = folder / "images", folder / "masks.npz"
        drawn = draw_sample(n_train=48, n_test=4, height=32, width=64)
        names = ("training_set", "test_set", "training_groups")
        arrays: dict[str, Any] = {name: getattr(drawn, name) for name in names}
        data = folder / "sample.npz"
        np.savez(data, **arrays, classes=np.array(["background", *drawn.classes]))
        for seed in ("0", "1", "2"):
            self.must("train", str(data), *TINY, *CPU, "--seed", seed, "--out", str(self.whole))
        self.members = sorted(path.name for path in (self.whole / "members").iterdir())
        pair = self.members[:2]
        for method in ("learned", "average"):
            self.must("combine", *pair, "--method", method, "--folds", "2", "--runs", str(self.whole))
        self.images.mkdir()
        Image.fromarray(drawn.test_set[0]).save(self.images / "0.png")
        self.restore()
        self.undamaged = {command: self.run(command)[1] for command in COMMANDS}

    def must(self, *arguments: str) -> None:
        """Run a command that has to succeed."""
        result = CliRunner().invoke(app, [*arguments, "--quiet"])
        if result.exit_code:
            sys.exit(result.output)

    def restore(self) -> None:
        """Make the runs whole again."""
        shutil.rmtree(self.runs, ignore_errors=True)
        shutil.copytree(self.whole, self.runs)

    def run(self, command: str) -> tuple[int, str, BaseException | None]:
        """Return exit code, output and an exception other than a normal exit of a command."""
        runs = ["--runs", str(self.runs)]
        self.masks.unlink(missing_ok=True)
        arguments = {
            "verify": ["verify", "--runs", str(self.runs)],
            "results": ["results", *runs, "--format", "csv"],
            "combine": ["combine", "--method", "geometric", "--folds", "2", "--json", "--no-picture", *runs],
            "predict": ["predict", "learned", str(self.images), "--out", str(self.masks), "--probabilities", *runs],
        }[command]
        result = CliRunner().invoke(app, arguments)
        output = result.output
        if command == "predict" and self.masks.is_file():
            with np.load(self.masks) as archive:
                output = "".join(str(archive[name].tobytes()) for name in archive.files)
        return result.exit_code, output, result.exception

    def says(self, command: str, damage: Damage) -> str:
        """Return ``same``, ``named``, or what is wrong, with the words of the command."""
        code, output, exception = self.run(command)
        if exception is not None and not isinstance(exception, SystemExit):
            return f"traceback: {exception!r}"
        if code == 0 and output == self.undamaged[command]:
            return "same"
        lines = output.splitlines()
        notes = [line for line in lines if line.startswith("note: ")]
        if code == 0:
            usual = [line for line in self.undamaged[command].splitlines() if not line.startswith("note: ")]
            if [line for line in lines if line not in notes] != usual or not notes:
                return "wrong: another output without a word"
            output = "\n".join(notes)
        runs = [part for path in (damage.path, damage.other) if path is not None for part in path.parts[1:2]]
        return "named" if any(name in output for name in runs) else f"wrong: names no run: {output.strip()}"

    def damages(self, flips: int) -> Iterator[Damage]:
        """Yield everything that is tried."""
        one, other = (Path("members") / name for name in self.members[:2])
        yield from self.damages_of(one, other, flips)
        for split in ("validation", "test"):
            store = Path("probabilities") / split
            yield Damage(one / store, "deleted")
            yield Damage(one / store, "replaced", other=other / store)
        yield Damage(one / "probabilities", "deleted")
        yield Damage(one / "probabilities/test", "exchanged", other=one / "probabilities/validation")
        learned, average = sorted(Path("ensembles") / p.name for p in (self.whole / "ensembles").iterdir())[::-1]
        yield from self.damages_of(learned, average, flips)
        for a, b in ((one, other), (learned, average)):
            yield Damage(a, "replaced", other=b)
            yield Damage(a, "exchanged", other=b)

    def damages_of(self, run: Path, other: Path, flips: int) -> Iterator[Damage]:
        """Yield all damages to the files of one run."""
        for file in sorted((self.whole / run).rglob("*")):
            if file.is_dir():
                continue
            name = file.relative_to(self.whole / run)
            yield from (Damage(run / name, "flipped", place) for place in np.linspace(0, 1, flips).round(3).tolist())
            yield from (Damage(run / name, "cut", place) for place in (0.999, 0.9, 0.5, 0.1))
            yield Damage(run / name, "emptied")
            yield Damage(run / name, "deleted")
            if (self.whole / other / name).is_file():
                yield Damage(run / name, "replaced", other=other / name)
                yield Damage(run / name, "exchanged", other=other / name)


def row_of(bench: Bench, damage: Damage) -> dict[str, Any] | None:
    """Damage the runs, ask all commands, and make the runs whole again; None if the damage changes nothing."""
    try:
        if not damage.do(bench.runs):
            return None
        said = {command: bench.says(command, damage) for command in COMMANDS}
    finally:
        bench.restore()
    kind, _, *rest = damage.path.parts
    expected = "same" if damage.path.name in NEVER_READ else "named"
    wrong = said["verify"] != expected or any(text not in ("same", "named") for text in said.values())
    part = "store" if rest[:1] == ["probabilities"] else kind.removesuffix("s")
    target = "/".join(rest) or "directory"
    return {"part": part, "file": target, "damage": damage.kind, "place": damage.place, **said, "wrong": wrong}


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """Return the sentence that the page of experiments quotes."""
    counts = [f"{command} named {sum(row[command] == 'named' for row in rows)}" for command in COMMANDS]
    return f"{len(rows)} damages: {', '.join(counts)}; {sum(row['wrong'] for row in rows)} wrong"


def main() -> int:
    """Damage, ask, write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--flips", type=int, default=12)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for damage in bench.damages(arguments.flips):
            if (row := row_of(bench, damage)) is not None:
                rows.append(row)
                if row["wrong"]:
                    print(row, flush=True)
    frame = pd.DataFrame(rows).assign(torch=torch.__version__, cpu=cpu_name())
    write_bytes(arguments.out, frame.to_csv(index=False, lineterminator="\n").encode())
    print(f"{summary(rows)}; {time.perf_counter() - start:.0f} s")
    return int(any(row["wrong"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())

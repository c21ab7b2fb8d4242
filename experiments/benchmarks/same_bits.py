"""Compare the bits that version 0.1.0 and this version produce: weights, probabilities, scores and tables.

Usage: git worktree add ../before c2af1f4
       python experiments/benchmarks/same_bits.py ../before --out experiments/results/same-bits.csv

Both versions run the same commands on the embedded sample, each in its own grammar: they train three members with
``--deterministic``, combine them in fourteen ways, compare all methods and members, and write the table. One row
per file or printed result: its digest before and after. Times, sentences and the git revision are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measuring import conditions

from ensemble.core.files import digest, write_bytes

ROOT = Path(__file__).resolve().parents[2]
COMMON = ("--epochs", "2", "--optimiser", "adamw", "--deterministic", "--precision", "fp32", "--quiet")
# Architecture with its options, loss with its options, and everything else.
MEMBERS: tuple[tuple[str, dict[str, Any], str, dict[str, Any], tuple[str, ...]], ...] = (
    (
        *("unet", {"filters": 8}, "0.5*dice + 0.5*weighted-ce", {}),
        ("--augment", "geometric + copy-paste(count=4)", "--sampler", "rare(per_batch=3)"),
    ),
    ("attention-unet", {"filters": 8}, "focal", {"gamma": 1.5}, ("--augment", "flips", "--seed", "1")),
    ("linknet", {"encoder": "resnet18"}, "tversky", {}, ("--augment", "flips", "--tta", "flips")),
)
METHODS: tuple[tuple[str, dict[str, Any]], ...] = (
    *(("average", {}), ("weighted", {"weights": [2, 1, 1]}), ("vote", {}), ("geometric", {})),
    *(("geometric", {"exponents": "learned"}), ("learned", {}), ("learned", {"objective": "soft-miou"})),
    *(("greedy", {}), ("greedy", {"bags": 5}), ("per-class", {}), ("stacking", {})),
    *(("stacking", {"neighbourhood": 3}), ("auto", {})),
)
EVERYTHING = ("--method", "learned", "--calibrate", "both", "--decide", "offsets", "--top", "2")
LEFT_OUT = {"seconds", "finished", "latency_ms", "advice", "notes", "created", "sentence", "chosen", "method"}
TIMES = ("seconds", "latency", "finished", "time", "created", "path", "memory", "git")


def component(flag: str, name: str, options: Mapping[str, Any], *, old: bool) -> list[str]:
    """Return the options of the command line for a component, in the grammar of either version."""
    if not old:
        return [f"--{flag}", f"{name}({', '.join(f'{key}={value}' for key, value in options.items())})"]
    if "weights" in options:
        return [f"--{flag}", name, "--weights", ",".join(map(str, options["weights"]))]
    each = {"arch": "--arch-option", "loss": "--loss-option", "method": "--option"}[flag]
    return [f"--{flag}", name, *(part for key, value in options.items() for part in (each, f"{key}={value}"))]


def run_commands(tree: Path, work: Path, *, old: bool) -> dict[str, str]:
    """Run all commands with the code of ``tree`` and return the digest of everything that they produce."""

    def ens(*arguments: str) -> str:
        environment = os.environ | {"PYTHONPATH": str(tree), "NO_ALBUMENTATIONS_UPDATE": "1"}
        command = [sys.executable, "-c", "from ensemble.cli import main; main()", *arguments]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(arguments)} with {tree}: {done.stderr}")
        return done.stdout

    for arch, arch_options, loss, loss_options, more in MEMBERS:
        parts = component("arch", arch, arch_options, old=old)
        parts += component("loss", loss, loss_options, old=old) if loss_options else ["--loss", loss]
        ens("train", "sample", *parts, *more, *COMMON)
    for method, options in METHODS:
        parts = component("method", method, options, old=old) if options else ["--method", method]
        ens("combine", *parts, "--no-picture", "--quiet")
    ens("combine", *EVERYTHING, "--no-picture", "--quiet")
    digests = dict(files_of(work / "runs"))
    names = sorted(path.name for path in (work / "runs" / "members").iterdir())
    digests["combine --all-methods"] = of_json(json.loads(ens("combine", "--all-methods", "--json")))
    digests["compare"] = of_json(json.loads(ens("compare", *names, "--json")))
    ens("results", "--out", "table.csv", "--quiet")
    table = pd.read_csv(work / "table.csv", dtype=str)
    kept = [column for column in table.columns if not any(word in column for word in TIMES)]
    digests["results"] = digest(table[kept].to_csv(index=False))
    return digests


def files_of(runs: Path) -> Iterator[tuple[str, str]]:
    """Yield the digest of every file of numbers in a folder of runs."""
    for path in sorted(runs.rglob("*")):
        name = str(path.relative_to(runs))
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                yield name, digest(*(part for key in sorted(arrays) for part in (key, arrays[key].tobytes())))
        elif path.name == "scores.json":
            yield name, of_json(json.loads(path.read_text(encoding="utf-8")))
        elif path.is_file() and (path.suffix == ".safetensors" or "probabilities" in path.parts):
            yield name, digest(path.read_bytes())


def of_json(content: Any) -> str:
    """Return the digest of a JSON document without times and sentences."""
    return digest(json.dumps(without_words(content), sort_keys=True))


def without_words(content: Any) -> Any:
    """Return a JSON document without the keys that hold times or sentences."""
    if isinstance(content, dict):
        return {key: without_words(value) for key, value in content.items() if key not in LEFT_OUT}
    return [without_words(value) for value in content] if isinstance(content, list) else content


def main() -> None:
    """Run both versions, write the table and report what differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("before", type=Path, help="a checkout of version 0.1.0")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    digests: list[dict[str, str]] = []
    for tree, old in ((given.before.resolve(), True), (ROOT, False)):
        with tempfile.TemporaryDirectory() as work:
            digests.append(run_commands(tree, Path(work), old=old))
    before, after = digests
    rows = [
        {"result": name, "before": before.get(name, ""), "after": after.get(name, ""), **conditions(("torch", "numpy"))}
        for name in sorted({*before, *after})
    ]
    write_bytes(given.out, pd.DataFrame(rows).to_csv(index=False, lineterminator="\n").encode())
    different = [row["result"] for row in rows if row["before"] != row["after"]]
    print(f"{len(rows)} results, {len(different)} differ: {', '.join(different) or 'none'}")


if __name__ == "__main__":
    main()

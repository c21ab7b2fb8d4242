"""Ten members of Mars data, one of them bad on purpose, combined in every way: does any of it help?

    python experiments/recipes/combination.py mars.npz [--runs runs]

Trains what is missing (eight of the ten are rows of the catalogue; about half an hour from nothing on two idle cores
with bf16 units), cross-fits every method with and without temperatures, class offsets and the bad member, and writes
experiments/results/combination.csv. Then `ens combine` and `ens explain` say why; their pictures go to
experiments/results/explain.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

import ensemble
from ensemble.core.files import write_bytes
from ensemble.core.progress import Progress
from ensemble.explanation.explain import explain
from ensemble.report.write_explanation import write_explanation

RESULTS = Path(__file__).resolve().parents[1] / "results"
# The settings of the catalogue, so that its members are found, not trained again.
COMMON: dict[str, Any] = {"val_fraction": 0.26, "augment": "flips", "epochs": 10, "optimiser": "adamw"}
ROCKS = {"augment": "flips + copy-paste", "sampler": "rare", "epochs": 14}
MEMBERS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("unet", "ce", {}),
    ("unet", "weighted-ce", {}),
    ("unet", "dice", {}),
    ("unet", "tversky", {}),
    ("pspnet", "weighted-ce", {}),
    ("pan", "weighted-ce", {}),
    ("linknet", "weighted-ce", {}),
    ("segformer", "weighted-ce", {}),
    ("pspnet", "0.5*dice + 0.5*ce", ROCKS),  # pasted rocks, and rare images in every batch
    ("unet-baseline", "ce", {"epochs": 1}),  # bad on purpose: one epoch
)
WAYS: tuple[dict[str, Any], ...] = (
    {},
    {"calibrate": "members"},
    {"calibrate": "pool"},
    {"calibrate": "both"},
    {"decide": "offsets"},
    {"calibrate": "both", "decide": "offsets"},
    {"top": 5},
    {"drop": True},
)


def train_all(data: str, runs: Path, progress: Progress) -> list[str]:
    """Names of the members, the bad one last."""
    names: list[str] = []
    for arch, loss, changes in MEMBERS:
        member = ensemble.train(data, arch=arch, loss=loss, out=runs, progress=progress, **(COMMON | changes))
        print(f"{member.name}: {member.scores['miou']:.4f}")
        names.append(member.name)
    return names


def compare(names: list[str], runs: Path, progress: Progress) -> pd.DataFrame:
    """Rows of `ensemble.combine_all` for every way of calibrating, deciding and choosing members."""
    frames: list[pd.DataFrame] = []
    for way in WAYS:
        options: dict[str, Any] = way | {"drop": names[-1:] if way.get("drop") else ()}
        frame = ensemble.combine_all(names, runs=runs, progress=progress, **options)
        frame.insert(
            0, "members", "without the bad one" if way.get("drop") else f"top {way['top']}" if "top" in way else "all"
        )
        frame.insert(0, "decide", way.get("decide", "argmax"))
        frame.insert(0, "calibrate", way.get("calibrate", "none"))
        frames.append(frame)
        print(
            frame[["calibrate", "decide", "members", "method", "miou", "difference", "seconds"]].to_string(index=False)
        )
    return pd.concat(frames, ignore_index=True)


def main() -> None:
    """Train, compare, explain."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="mars.npz")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    given = parser.parse_args()

    def progress(task: str, done: int, total: int, note: str = "", /) -> None:
        print(f"\r{task} {done}/{total} {note}", end="" if done < total else "\n", flush=True)

    names = train_all(given.data, given.runs, progress)
    table = compare(names, given.runs, progress)
    write_bytes(
        RESULTS / "combination.csv", table.to_csv(index=False, lineterminator="\n", float_format="%.6g").encode()
    )
    done = ensemble.combine(names, method="learned", runs=given.runs, progress=progress)
    print(done.verdict.advice)
    written = write_explanation(explain(done.ensemble.path, progress=progress), RESULTS / "explain", progress)
    print(f"{len(written)} pictures and tables in {RESULTS / 'explain'}")


if __name__ == "__main__":
    main()

"""Compare the runs of a study where few images do not decide: by the mean IoU of all classes but the rarest.

    python experiments/recipes/common_classes.py runs/studies/STUDY.csv --rival LABEL --out TABLE.csv

A row per run of the study. `common` is the mean IoU of the classes other than the one in the fewest labelled pixels,
`rare` is that one's IoU, `miou` the mean of all. `keras` is `keras.metrics.MeanIoU(ignore_class=0)`, and `classes` the
number of classes in it. `d_common` and `d_miou` are differences to the run with the label LABEL on the same images,
paired over their groups. `_low` and `_high` are limits of 95 % intervals, each by itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ensemble.core.files import write_bytes
from ensemble.evaluation import Draws, SampledScores, class_counts
from ensemble.evaluation.confusion import iou_of
from ensemble.inference.hardware import cpu_name
from ensemble.runs.tables import ImageTables, read_tables

KEPT = ("group", "name", "epochs", "images", "groups", "miou", "miou_low", "miou_high", "log_loss")
KERAS = {"miou_keras": "keras", "miou_keras_low": "keras_low", "miou_keras_high": "keras_high"}


def common_iou(draws: Draws, tables: ImageTables, rare: int) -> SampledScores:
    """Score a run by the mean IoU of the classes other than ``rare``."""
    places = [place for place in range(len(tables.classes)) if place != rare]
    counts_n3k = class_counts(tables.confusions_nkk)
    each = draws.shares(lambda total: iou_of(total(counts_n3k))[..., places], counts_n3k[:, 2][:, places] > 0)
    return draws.scores(lambda total: iou_of(total(counts_n3k))[..., places].mean(-1, keepdims=True), [each])


def differences(draws: Draws, one: ImageTables, other: ImageTables, rare: int) -> dict[str, float]:
    """Return the difference in mIoU and in the mean of the common classes, with limits."""
    found: dict[str, float] = {}
    pairs = {
        "miou": [draws.iou(tables.confusions_nkk) for tables in (one, other)],
        "common": [common_iou(draws, tables, rare) for tables in (one, other)],
    }
    for name, (mine, theirs) in pairs.items():
        pair = mine.minus(theirs).comparison()
        found |= {f"d_{name}": pair.difference, f"d_{name}_low": pair.low, f"d_{name}_high": pair.high}
    return found


def rows_of(study: Path, rival: str) -> list[dict[str, Any]]:
    """Return a row per run of the study."""
    table, runs = pd.read_csv(study), study.parents[1]
    records = {row["label"]: row for row in table.to_dict("records")}
    tables = {label: read_tables(runs / f"{row['kind']}s" / row["name"]) for label, row in records.items()}
    base = tables[rival]
    draws, rare = Draws.of(base.groups), int(base.confusions_nkk.sum((0, 2)).argmin())
    rows: list[dict[str, Any]] = []
    for label, found in tables.items():
        own, record = found.of(base.ids), records[label]
        row: dict[str, Any] = {"run": label, **{name: record[name] for name in KEPT}}
        row |= {new: record[old] for old, new in KERAS.items()}
        row |= {"classes": len(own.classes) + (record["background"] == "class")}
        row |= {
            "common": common_iou(draws, own, rare).whole_c[0],
            "rare": draws.iou(own.confusions_nkk).whole_c[1 + rare],
        }
        rows.append(row | (differences(draws, own, base, rare) if label != rival else {}))
    return rows


def write(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write a table with its conditions, and print it."""
    table = pd.DataFrame(rows).assign(cpu=cpu_name())
    write_bytes(path, table.to_csv(index=False, lineterminator="\n", float_format="%.6g").encode())
    print(table.round(4).to_string(index=False))


def main() -> None:
    """Read the study, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="runs/studies/STUDY.csv")
    parser.add_argument("--rival", required=True, help="label of the run that all others are compared with")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    write(rows_of(given.study, given.rival), given.out)


if __name__ == "__main__":
    main()

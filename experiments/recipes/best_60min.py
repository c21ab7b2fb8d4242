"""How good are the members and ensembles of an hour on Mars tiles? A table that keeps rocks and common classes apart.

    python experiments/recipes/best_60min.py runs/studies/best-60min-imagenet.csv [--out TABLE.csv]

Reads a finished study of `best-60min.sh`, and adds the ensembles of its members that answer a question:

- `best member, same decision`: the member that is best on the other folds, decided for expected IoU as `best` is;
- `each class its own weights`: per-class weights, decided alike.

Scores are out of fold over all labelled images. `common` is the mean IoU of the classes other than big rock;
`rock_area` is the share of the rock pixels that are found, `rock_right` the share of what is called rock that is rock;
`rock_without_largest` leaves out the image with most of it. Objects have a partner with an IoU of a half. Differences
are those to `best member, same decision`, paired over rover stops, with 95 % intervals.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common_classes import differences, iou, of_rarest, write
from numpy.typing import NDArray

import ensemble
from ensemble.evaluation import Draws, iou_per_class
from ensemble.runs.tables import ImageTables, read_tables

RESULTS = Path(__file__).resolve().parents[1] / "results"
ROCK, RIVAL = "big rock", "best member, same decision"
ADDED: dict[str, dict[str, Any]] = {
    RIVAL: {"method": "average", "top": 1},
    "each class its own weights": {"method": "per-class"},
}
COPIED = ("miou", "miou_low", "miou_high", "log_loss", "ece", "images", "groups")


def of_rock(tables: ImageTables) -> dict[str, float]:
    """Return what is found of big rock, by area and by objects."""
    found = of_rarest(tables, tables.confusions_nkk, tables.classes.index(ROCK))
    return {name.replace("rare_objects", "rocks").replace("rare", "rock"): value for name, value in found.items()}


def rows_of(study: Path) -> list[dict[str, Any]]:
    """Return a row per member and ensemble of the study, and per added ensemble."""
    table, runs = pd.read_csv(study), study.parents[1]
    members = table.loc[table.group != "ensemble", "name"].tolist()
    labels = dict(zip(table.name, table.label, strict=True))
    for label, options in ADDED.items():
        made = ensemble.combine(members, decide="expected-iou", runs=runs, **options)
        labels[made.ensemble.name] = label
    scores = ensemble.results.load(runs, evaluations=False).set_index("name")
    tables = {name: read_tables(Path(scores.loc[name, "path"])) for name in labels}
    rival = next(tables[name] for name, label in labels.items() if label == RIVAL)
    draws, rock = Draws.of(rival.groups), rival.classes.index(ROCK)
    rows: list[dict[str, Any]] = []
    for name, label in labels.items():
        own = tables[name].of(rival.ids)
        iou_k: NDArray[np.float64] = iou_per_class(own.confusions_nkk.sum(0))
        row: dict[str, Any] = {"run": label} | scores.loc[name, list(COPIED)].to_dict()
        row |= {
            "minutes": scores.loc[name, "seconds"] / 60,
            "common": iou(draws, own.confusions_nkk, rock).whole_c[-1],
        }
        row |= {one: iou_k[place] for place, one in enumerate(own.classes) if one != ROCK} | of_rock(own)
        rows.append(
            row | (differences(draws, own.confusions_nkk, rival.confusions_nkk, rock) if label != RIVAL else {})
        )
    return rows


def main() -> None:
    """Read the study, add ensembles, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="runs/studies/best-60min-imagenet.csv")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    write(rows_of(given.study), given.out or RESULTS / given.study.name)


if __name__ == "__main__":
    main()

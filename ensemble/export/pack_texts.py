"""Texts of a reviewer's pack: what its columns are, how to run it, and settings without paths."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import pandas as pd

from ensemble.core.formatting import counted
from ensemble.results.class_scores import class_columns, class_of, class_score
from ensemble.results.columns import ENDS, FOREGROUND, SCORES
from ensemble.results.find_column import column

PAGES = ("__init__", "probabilities", "objects", "images", "recount", "intervals", "scores", "verdict", "cheaper")
"""Modules of the program besides ``check.py``."""
COUNTED = ("images", "groups", "deciding_group")
"""Columns besides scores that follow from the tables."""


def columns_to_check(rows: pd.DataFrame) -> dict[str, tuple[str, str | None]]:
    """Return for each column that the program recomputes its score and class; the class is None for a mean."""
    found: dict[str, tuple[str, str | None]] = {}
    classes = class_columns(rows.columns)
    for name in map(str, rows.columns):
        end = next((end for end in ENDS if name.endswith(end)), "")
        score = name.removesuffix(end)
        if score in SCORES or name in COUNTED:
            found[name] = (name, None)
        elif score in FOREGROUND:
            found[name] = ("iou" + end if score == "foreground_iou" else "dice_per_class", "foreground")
        elif score in classes:
            found[name] = ("iou" + end, class_of(score))
        elif kind := class_score(score):
            found[name] = (f"{kind}_per_class{end}", class_of(score, kind))
    return found


def program_texts() -> dict[str, str]:
    """Return the files of the program that recomputes the scores, by name."""
    folder, found = files("ensemble.export.reviewer"), dict[str, str]()
    for name in ("check.py", *(f"formulas/{page}.py" for page in PAGES)):
        found[name] = folder.joinpath(*name.split("/")).read_text("utf-8")
    return found


def without_paths(value: Any) -> Any:
    """Return settings in which only the last part of each path that could name a person or a machine is left.

    >>> without_paths({"source": "/home/ann/mars.npz", "loss": "ce", "share": "a/b", "up": "../ann/x.npz"})
    {'source': 'mars.npz', 'loss': 'ce', 'share': 'a/b', 'up': 'x.npz'}
    """
    if isinstance(value, Mapping):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(item) for item in value]
    if isinstance(value, str):
        for path in (PurePosixPath(value), PureWindowsPath(value)):
            if path.is_absolute() or path.drive or path.parts[:1] in (("..",), ("~",)) or value.startswith("~"):
                return path.name
    return value


def read_me(rows: pd.DataFrame, columns: Mapping[str, Any]) -> str:
    """Return the text that explains the pack."""
    shown = [str(name) for name in rows.dropna(axis="columns", how="all").columns]
    recorded = [name for name in shown if name not in columns]
    kinds = rows["path"].str.partition("/")[0].value_counts()
    held = ", ".join(
        counted(int(kinds[kind]), kind[:-1]) for kind in ("members", "ensembles", "evaluations") if kind in kinds
    )
    width = max(map(len, shown)) + 2
    lines = [f"{name:<{width}}{column(name).about}" for name in shown]
    return _TEXT.format(held=held, recorded=", ".join(recorded), columns="\n".join(lines))


_TEXT = """\
The runs behind a table of results, and a program that computes the table again
================================================================================

This pack holds {held} of ens-toolkit (ensembles for semantic segmentation).

To check it, unpack it into a new folder and run

    python check.py

with Python 3.10 or newer and NumPy; nothing else is needed, and nothing is written or sent. It prints one line per run
and ends with the exit status 0 if every value is within 1e-9 of the recomputed one, else 1. It holds one image in
memory at a time.

What it does
------------
check.py shares no code with the toolkit and has a formula for each score.
- Member: one trained network. Its class maps follow from its stored probabilities, and from them and the labels all
  counts of pixels, boundaries and objects. It was scored before its probabilities were rounded to one byte, so its
  log-loss, Brier score and calibration come from recorded sums per image, and the program checks that the first two
  are possible with these bytes.
- Ensemble: the probabilities of its members are pooled again, those of each image with the weights that were fitted
  without its fold of images. The verdict is computed again: the differences between the method, the average and the
  best member, their intervals, what is proven and what to use. With a budget or a cascade the full ensemble, which is
  judged in the place of the average, is pooled again, too, and what is saved and kept is computed with its intervals.
- Evaluation: on other images, whose probabilities are not stored; its scores are computed from its tables per image.

What it cannot show: that the labels and probabilities are those of the data and of the networks, which the pack does
not hold; that weights were fitted as the settings say; and the columns that are recorded, not computed:
{recorded}.

Files
-----
results.csv                     the table, in full precision: a row per run
check.py, formulas/             the program: a page for each step, from the probabilities of a pixel to the verdict
columns.json                    the score and the class of each column that is recomputed
<run>/run.json                  settings, names of classes, ids and groups of images; of an ensemble the weights that
                                were fitted without each fold, and the verdict; with a budget or a cascade also the
                                weights of the full ensemble, and what the cheaper one saves and keeps
<run>/tables.npz                a row per image: confusions (true class, predicted class), boundary pixels and objects
                                per class (right, predicted, found, true), sums of log-loss and Brier score, and
                                pixels, confidences and right pixels per class in 15 bins of confidence; with a budget
                                or a cascade confusions of the full ensemble; of a cascade sums of log-loss after its
                                first member, where it stops and of the full ensemble (cross-fitted), and sums of
                                log-loss and mean entropy after each stage of the cascade that all images fitted
<run>/probabilities.npz         of a member, for each image: labels (255 is void: no label, no score), and codes q of
                                the probabilities p, which are q^2 over their sum over the classes; stored as
                                differences of neighbours

Columns of results.csv
----------------------
Columns that end with _low and _high are the limits of a 95 % interval over groups of images; they are empty where
fewer than 10 groups give no interval.

{columns}
"""

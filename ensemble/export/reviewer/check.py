"""Recompute every score of results.csv and every verdict from the probabilities, labels and tables of this pack.

Run it in the unpacked folder:  python check.py
It needs Python 3.10 and NumPy, nothing else. README.txt says what the files and columns are; formulas/ holds a page for
each step, from the probabilities of a pixel to the verdict.
"""

import csv
import json
import math
import sys
from pathlib import Path

import numpy as np
from formulas.recount import recount_ensemble, recount_member
from formulas.scores import scores
from formulas.verdict import verdict

HERE, TOLERANCE = Path(__file__).resolve().parent, 1e-9


def agrees(claimed, value):
    """Return whether a claim is the recomputed value; an empty one is NaN."""
    if isinstance(value, str):
        return str(claimed).lstrip("'") == value.lstrip("'")
    if claimed in ("", None):
        return math.isnan(value)
    return abs(float(claimed) - value) <= TOLERANCE


def check_cells(row, run, columns, found):
    """Compare the scores of a row of results.csv; return their number and a sentence for each that differs."""
    count, problems = 0, []
    for column, (name, of_class) in columns.items():
        value = found.get(name, math.nan)
        if isinstance(value, dict):
            value = value.get(run["foreground"] if of_class == "foreground" else of_class, math.nan)
        count += row[column] != ""
        if not agrees(row[column], value):
            problems.append(f"{column}: results.csv {row[column] or 'nothing'}, recomputed {value}")
    return count, problems


def check_verdict(claimed, run, made):
    """Compare differences, intervals, what is proven and what to use; return their number and what differs."""
    best, found, proven, use = made
    pairs = [("use", claimed["use"], use), ("proven", str(claimed["proven"]), str(proven))]
    pairs.append(("best member", claimed["best_member"], run["members"][best].removesuffix("-refit")))  # of its twin
    for title, each in found.items():
        for of_class, values in each.items():
            given = claimed["per_class"][title][of_class] if of_class else claimed["differences"][title]
            keys = ("difference", "low", "high", "probability_of_improvement")
            pairs += [(f"{title} {of_class} {key}", given[key], value) for key, value in zip(keys, values)]
    problems = [
        f"verdict, {what}: {given}, recomputed {value}" for what, given, value in pairs if not agrees(given, value)
    ]
    return len(pairs), problems


def check_run(row, columns):
    """Return the number of values of a run that were recomputed, and what differs."""
    folder = HERE / row["path"]
    run, tables = json.loads((folder / "run.json").read_text("utf-8")), dict(np.load(folder / "tables.npz"))
    problems, count = [], 0
    if run["kind"] == "member":
        tables, problems = recount_member(folder, run, tables)
    if run["kind"] == "ensemble":
        fold_n, confusions = tables["fold"], {}
        tables, problems, confusions["average"], members_mnkk = recount_ensemble(HERE / "members", run, tables)
        confusions["method"] = tables["confusions"]
        groups, claimed = run["groups"], run["verdict"]
        if claimed.get("rival", "the average") == "the average":
            made = verdict(confusions, members_mnkk, fold_n, groups, run["classes"], claimed["method"])
            count, more = check_verdict(claimed, run, made)
            problems += more
        else:
            print(f"  note: a verdict against {claimed['rival']}, whose weights are not stored, is not recomputed")
    found = scores(tables, run["groups"], run["classes"], run["background"])
    cells, more = check_cells(row, run, columns, found)
    return count + cells, [*problems, *more]


def main():
    """Check every run; return the exit status."""
    columns = json.loads((HERE / "columns.json").read_text("utf-8"))
    with (HERE / "results.csv").open(encoding="utf-8", newline="") as file:
        rows, total, wrong = list(csv.DictReader(file)), 0, 0
    for row in rows:
        count, problems = check_run(row, columns)
        total, wrong = total + count, wrong + len(problems)
        print(f"{'differs' if problems else 'agrees'}: {row['path']}, {count} values")
        print(*(f"  {problem}\n" for problem in problems), sep="", end="", flush=True)
    print(
        f"{total} scores, limits and differences of {len(rows)} runs: {wrong or 'none'} differ by more than {TOLERANCE}"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

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
from formulas.cheaper import budget, promise
from formulas.recount import recount_ensemble, recount_member
from formulas.scores import scores
from formulas.verdict import verdict

HERE, TOLERANCE = Path(__file__).resolve().parent, 1e-9


def agrees(claimed, value):
    """Return whether a claim is the recomputed value; an empty one is NaN."""
    if isinstance(value, (str, bool, list)):
        return str(claimed).lstrip("'") == str(value).lstrip("'")
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


def is_cheaper(run):
    """Return whether an ensemble has a budget or is a cascade, so that its verdict is against the full ensemble."""
    return any(run["settings"].get(name) is not None for name in ("within", "keep_gain"))


def check_savings(run, tables):
    """Compare what a budget or a cascade saves and keeps; return the members that fit, and (name, claim, value)."""
    fitting, triples = list(range(len(run["members"]))), []
    if run["settings"].get("within") is not None:
        fitting, found = budget(run)
        claims = run["budget"] | {"limit": run["settings"]["within"].split(" by ")[0]}
        triples += [(f"budget {name}", claims[name], value) for name, value in found.items()]
    if "cascade" in run:
        found = promise(tables, run["groups"], run["pool"], run["settings"]["keep_gain"])
        for name, value in found.items():
            part, _, end = name.partition(" ")
            triples.append((f"cascade {name}", run["cascade"][part][end] if end else run["cascade"][part], value))
    return fitting, triples


def check_verdict(run, tables, fold_n, average_nkk, members_mnkk):
    """Compare differences, intervals, what is proven and what to use; return their number and what differs."""
    claimed, cheaper = run["verdict"], is_cheaper(run)
    fitting, pairs = check_savings(run, tables)
    confusions = {"method": tables["confusions"], "average": tables["rival_confusions"] if cheaper else average_nkk}
    about = run["groups"], run["classes"], claimed["method"], cheaper
    best, found, proven, use = verdict(confusions, members_mnkk[fitting], fold_n, *about)
    pairs += [("use", claimed["use"], use), ("proven", claimed["proven"], proven)]
    pairs.append(("rival", claimed.get("rival", "the average"), "the full ensemble" if cheaper else "the average"))
    name = run["members"][fitting[best]].removesuffix("-refit")  # the verdict is that of its twin
    pairs.append(("best member", claimed["best_member"], name))
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
        fold_n = tables["fold"]
        tables, problems, *confusions = recount_ensemble(HERE / "members", run, tables)
        if is_cheaper(run) and not run.get("rival_pools"):
            print("  note: the verdict is not recomputed: an earlier version did not store the full ensemble's weights")
        else:
            count, more = check_verdict(run, tables, fold_n, *confusions)
            problems += more
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

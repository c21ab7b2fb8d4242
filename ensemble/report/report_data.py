"""Read the runs of a report: those of one data set and split, with notes on what is left out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from ensemble import results
from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.report.short_names import short_names
from ensemble.runs.ensemble_dir import Ensemble, member_names
from ensemble.runs.layout import ensembles_folder, is_name, sibling_member
from ensemble.runs.member import Member

R = TypeVar("R")

MOST_NAMES = 10  # runs that a note names
MOST_RUNS = 60  # most members, and most ensembles, of a report


@dataclass(frozen=True, eq=False)
class ReportData:
    """The runs of a report.

    Attributes:
        frame: their rows of the results table, the best mIoU first; all were scored on the same images and classes.
        members: the members in the same order.
        ensembles: the ensembles in the same order.
        notes: sentences on what the report does not show.
    """

    frame: pd.DataFrame
    members: Sequence[Member]
    ensembles: Sequence[Ensemble]
    notes: list[str] = field(default_factory=list[str])

    @property
    def featured(self) -> Ensemble | None:
        """The ensemble that the report explains: the one with the best cross-fitted mIoU."""
        return self.ensembles[0] if self.ensembles else None

    @property
    def best(self) -> Ensemble | Member:
        """The subject of the report: the featured ensemble or, without an ensemble, the best member."""
        return self.featured or self.members[0]

    @cached_property
    def classes(self) -> dict[str, str]:
        """Names of the scored classes by their column in ``frame``."""
        names = {results.column_of(name): name for name in map(str, self.best.scores["iou"])}
        return {column: name for column, name in names.items() if bool(self.frame[column].notna().any())}

    @cached_property
    def short(self) -> dict[str, str]:
        """A short name for every run, so that a run has the same name in all figures."""
        of_featured = self.featured.settings.members if self.featured else ()  # the report may show only some of them
        names = list(dict.fromkeys([run.name for run in (*self.members, *self.ensembles)] + [*of_featured]))
        return dict(zip(names, short_names(names), strict=True))

    def add_note(self, note: str) -> None:
        """Add a sentence on what is missing, once."""
        if note not in self.notes:
            self.notes.append(note)

    def row(self, name: str) -> dict[str, Any]:
        """Return a run's row of the table."""
        return dict(self.frame.loc[self.frame["name"] == name].iloc[0])


def read_report_data(
    root: Path, ensemble: str | None = None, names: Collection[str] | None = None, progress: Progress = no_progress
) -> ReportData:
    """Read the runs in ``root`` that belong on one report: those scored on the same images and classes.

    Args:
        root: folder of runs.
        ensemble: name of an ensemble, for a report of this ensemble and its members (default: the runs that can be
            compared with the member that was finished last).
        names: names of the runs to read; the report does not mention other runs (default: all runs).
        progress: callback that receives the progress.

    Raises:
        EnsError: the folder does not exist or holds no finished run, or there is no such ensemble.
    """
    whole, problems = results.scan(root, progress)
    readable = frozenset(whole["name"])
    if names is not None:
        whole = whole.loc[whole["name"].isin(list(names))]
        problems = [problem for problem in problems if any(name in problem for name in names)]
    notes = [f"Left out: {problem}." for problem in problems]
    if ensemble is not None:
        own = [ensemble, *Ensemble.open(ensembles_folder(root) / ensemble).settings.members]
        whole = whole.loc[whole["name"].isin(own)]
    frame = whole if whole.empty else _comparable(whole, ensemble, readable, notes)
    members, ensembles = _opened(frame, Member.open, "member", notes), _opened(frame, Ensemble.open, "ensemble", notes)
    if not (members or ensembles):
        hint = " ".join(notes[:1]) or "train one with `ens train`"
        raise EnsError(f"expected a finished member in {root}, found none; {hint}")
    if len(ensembles) > 1:
        notes.append(note_on_choice(ensembles))
    paths = [str(run.path) for run in (*members, *ensembles)]
    return ReportData(frame.loc[frame["path"].isin(paths)].reset_index(drop=True), members, ensembles, notes)


def note_on_choice(ensembles: Sequence[Ensemble]) -> str:
    """Return which of several ensembles is explained, and that choosing it flatters its lead, if it has one."""
    text = f"The report explains the ensemble with the best mIoU of {len(ensembles)}."
    best, second = (100 * float(each.scores["miou"] or 0) for each in ensembles[:2])
    if best - second < 0.005:
        return f"{text} Another one has the same mIoU."
    return f"{text} Its lead over the others looks larger than it is, because it was selected on these images."


def _opened(frame: pd.DataFrame, opens: Callable[[Path], R], kind: str, notes: list[str]) -> list[R]:
    """Open the best runs of a kind; damaged ones are left out with a note."""
    paths, runs = frame.loc[frame["kind"] == kind, "path"], list[R]()
    for path in paths.head(MOST_RUNS):
        try:
            runs.append(opens(Path(path)))
        except EnsError as error:
            notes.append(f"Left out: {error}.")
    if len(paths) > MOST_RUNS:
        notes.append(f"The report shows the {MOST_RUNS} of {len(paths)} {kind}s with the best mIoU.")
    return runs


def _comparable(frame: pd.DataFrame, ensemble: str | None, readable: Collection[str], notes: list[str]) -> pd.DataFrame:
    """Return the rows scored on the same images and classes as the given ensemble, or as the member finished last.

    An ensemble one of whose members is not among the ``readable`` runs does not know its classes.
    """
    sets, finished = results.sets_of(frame), frame["finished"].fillna("").to_numpy(str)
    names, kinds = frame["name"].to_numpy(str), frame["kind"].to_numpy(str)
    first = np.lexsort((finished, kinds == "member", names == (ensemble or "")))[-1]
    wanted = sets.iloc[int(first)]
    others = frame.loc[sets != wanted]
    unknown = others["background"].isna()
    for path in map(Path, others.loc[unknown, "path"]):
        notes.append(f"Left out: the ensemble {path.name}, because {_lacks(path, readable)}.")
    apart: list[str] = others.loc[~unknown, "name"].tolist()
    more = f" and {len(apart) - MOST_NAMES} more" if len(apart) > MOST_NAMES else ""
    left_out = ", ".join(apart[:MOST_NAMES]) + more
    subject = frame.iloc[int(first)]
    if left_out and pd.isna(subject["background"]):
        cause = _lacks(Path(subject["path"]), readable)
        notes.append(f"Left out: {left_out}. The classes of {subject['name']} are not known, because {cause}.")
    elif left_out:
        notes.append(f"Left out, because they were scored on other images or classes: {left_out}.")
    return frame.loc[sets == wanted]


def _lacks(path: Path, readable: Collection[str]) -> str:
    """Return which members an ensemble lacks, and whether they are missing or damaged."""
    lacking = [name for name in member_names(path) if name not in readable]
    what = {
        name: "cannot be read" if is_name(name) and sibling_member(path, name).is_dir() else "is missing"
        for name in lacking
    }
    return " and ".join(f"its member {name} {state}" for name, state in what.items()) or "its members differ"

"""Sort, group or pivot the table, mark the best runs for their cost, and add the notes that belong to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.results.best import notes
from ensemble.results.columns import PARETO
from ensemble.results.find_column import resolve
from ensemble.results.formatting import FormattedTable, show, show_pivot
from ensemble.results.grouping import by, incomplete, pareto, pivot, varying
from ensemble.results.significance import ties
from ensemble.results.table import sort

KEPT = ("name", "n", "set", "pareto", "architecture", "loss", "miou")


@dataclass(frozen=True)
class ViewResult:
    """A sorted, grouped or pivoted table.

    Attributes:
        rows: the rows, with all columns: runs, groups of runs, or means by two factors.
        numbers: the part that CSV and Parquet files hold.
        shown: the formatted table.
        keep: headings that stay in a narrow terminal: those that identify a row, and those asked for.
    """

    rows: pd.DataFrame
    numbers: pd.DataFrame
    shown: FormattedTable
    keep: Sequence[str]

    def with_ties(self, progress: Progress = no_progress) -> FormattedTable:
        """Return the formatted table, with daggers if its rows are runs; this reads their per-image tables."""
        return self.shown.with_ties(ties(self.rows, progress)) if "path" in self.rows.columns else self.shown


@dataclass(frozen=True, kw_only=True)
class View:
    """Choices of how to show the table.

    Attributes:
        sort: column to sort by, best first; also the score of a pivot, and the score compared with the cost.
        by: factors to average by (default: no averages).
        pivot: factors of the rows and of the columns; excludes ``by``, ``columns`` and ``cost``.
        columns: columns to show (default: the usual columns).
        intervals: show the interval next to every score.
        cost: mark the runs that no run of at most the same cost beats (default: no marks).
    """

    sort: str = "miou"
    by: Sequence[str] = ()
    pivot: tuple[str, str] | None = None
    columns: Sequence[str] | None = None
    intervals: bool = False
    cost: str = ""

    def of(self, frame: pd.DataFrame) -> ViewResult:
        """Apply the choices to a table.

        Raises:
            EnsError: a column is unknown, or choices exclude each other.
        """
        if self.pivot is not None and (self.by or self.columns or self.cost):
            raise EnsError("pivot cannot be combined with by, columns or cost (--pareto); leave them out")
        return self._listed(frame) if self.pivot is None else self._pivoted(frame, *self.pivot)

    def _pivoted(self, frame: pd.DataFrame, rows: str, columns: str) -> ViewResult:
        table = pivot(frame, rows, columns, self.sort)
        note = f"Each cell is the mean {table.score} of the n runs that share both factors."
        shown = replace(show_pivot(table), notes=(*notes(frame), note, *_averaged(frame, (rows, columns))))
        keys = list(map(str, shown.texts))[: table.means.index.nlevels]
        return ViewResult(table.means, table.means.reset_index(), shown, keys)

    def _listed(self, frame: pd.DataFrame) -> ViewResult:
        messages = notes(frame)
        if self.by:
            messages += ["Means over n runs, \u00b1 their sample standard deviation.", *_averaged(frame, self.by)]
            frame = by(frame, self.by)
        if self.cost:
            frame = frame.assign(**{PARETO: pareto(frame, self.cost, self.sort)})
            note = f"*: no run of at most this cost ({self.cost}) has a better {self.sort}; intervals may overlap."
            messages.append(note)
        frame, columns = sort(frame, self.sort), self.columns
        if columns is not None and self.cost:  # the user asked for the marks
            columns = [*columns[:1], PARETO, *(name for name in columns[1:] if name != PARETO)]
        shown = replace(show(frame, columns, intervals=self.intervals), notes=tuple(messages))
        asked = frame.columns if columns is None else [resolve(name, frame.columns) for name in columns]
        numbers: Any = frame[list(dict.fromkeys(asked))]
        meant = {resolve(name, frame.columns) for name in (*self.by, self.sort, self.cost or self.sort)}
        keep = [title for title, name in shown.columns.items() if name in meant or name in KEPT]
        return ViewResult(frame, numbers, shown, [*list(map(str, shown.texts))[:1], *keep])


def _averaged(frame: pd.DataFrame, factors: Sequence[str]) -> list[str]:
    """Return notes on what was averaged and what was left out."""
    messages: list[str] = []
    if differ := varying(frame, factors):
        messages.append(f"Runs that are averaged differ in more than the seed: {', '.join(differ)}.")
    if left := int(incomplete(frame, factors).sum()):
        one = "1 ensemble has no such factor and is"
        messages.append(f"{one if left == 1 else f'{left} ensembles have no such factor and are'} left out.")
    return messages

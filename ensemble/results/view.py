"""What one asks of the table: sorted, grouped or pivoted, weighed against cost, with the notes that belong to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.results.best import notes
from ensemble.results.columns import PARETO, resolve
from ensemble.results.formatting import FormattedTable, show, show_pivot
from ensemble.results.grouping import by, incomplete, pareto, pivot, varying
from ensemble.results.significance import ties
from ensemble.results.table import sort

KEPT = ("name", "n", "set", "pareto", "miou", "miou_interval")


@dataclass(frozen=True)
class ViewResult:
    """What is seen of the table.

    Attributes:
        rows: the rows, with all columns: runs, groups of runs, or means by two factors.
        numbers: what files of numbers hold.
        shown: what people read.
        keep: headings that stay in a narrow terminal: what a row is, and what was asked for.
    """

    rows: pd.DataFrame
    numbers: pd.DataFrame
    shown: FormattedTable
    keep: Sequence[str]

    def with_ties(self, progress: Progress = no_progress) -> FormattedTable:
        """What people read, with daggers where the rows are runs; reads the runs' per-image tables."""
        return self.shown.with_ties(ties(self.rows, progress)) if "path" in self.rows.columns else self.shown


@dataclass(frozen=True, kw_only=True)
class View:
    """How to look at the table.

    Attributes:
        sort: column to sort by, best first; also the score that a pivot shows and that is weighed against the cost.
        by: factors to average by; no averages where there are none.
        pivot: two factors, one down and one across, if any; excludes ``by``, ``columns`` and ``cost``.
        columns: columns to show; the usual ones where None.
        intervals: show the interval beside every score.
        cost: mark the runs that nothing of no more cost beats; no marks where empty.
    """

    sort: str = "miou"
    by: Sequence[str] = ()
    pivot: tuple[str, str] | None = None
    columns: Sequence[str] | None = None
    intervals: bool = False
    cost: str = ""

    def of(self, frame: pd.DataFrame) -> ViewResult:
        """Look at a table.

        Raises:
            EnsError: unknown columns, or choices that do not go together.
        """
        if self.pivot is not None and (self.by or self.columns or self.cost):
            raise EnsError("expected a pivot alone, got grouping, columns or a cost beside it; choose one of them")
        return self._listed(frame) if self.pivot is None else self._pivoted(frame, *self.pivot)

    def _pivoted(self, frame: pd.DataFrame, rows: str, columns: str) -> ViewResult:
        table = pivot(frame, rows, columns, self.sort)
        told = f"Mean {table.score} of the runs that share both, n of them."
        shown = replace(show_pivot(table), notes=(*notes(frame), told, *_averaged(frame, (rows, columns))))
        keys = list(map(str, shown.texts))[: table.means.index.nlevels]
        return ViewResult(table.means, table.means.reset_index(), shown, keys)

    def _listed(self, frame: pd.DataFrame) -> ViewResult:
        told = notes(frame)
        if self.by:
            told += ["Means over n runs, \u00b1 their sample standard deviation.", *_averaged(frame, self.by)]
            frame = by(frame, self.by)
        if self.cost:
            frame = frame.assign(**{PARETO: pareto(frame, self.cost, self.sort)})
            told.append(f"*: nothing that costs no more ({self.cost}) has a better {self.sort}; intervals may overlap.")
        frame, columns = sort(frame, self.sort), self.columns
        if columns is not None and self.cost:  # the marks are what was asked for
            columns = [*columns[:1], PARETO, *(name for name in columns[1:] if name != PARETO)]
        shown = replace(show(frame, columns, intervals=self.intervals), notes=tuple(told))
        asked = frame.columns if columns is None else [resolve(name, frame.columns) for name in columns]
        numbers: Any = frame[list(dict.fromkeys(asked))]
        meant = {resolve(name, frame.columns) for name in (*self.by, self.sort, self.cost or self.sort)}
        keep = [title for title, name in shown.columns.items() if name in meant or name in KEPT]
        return ViewResult(frame, numbers, shown, [*list(map(str, shown.texts))[:1], *keep])


def _averaged(frame: pd.DataFrame, factors: Sequence[str]) -> list[str]:
    """What a reader of means must know."""
    differ, left = varying(frame, factors), int(incomplete(frame, factors).sum())
    return [
        *([f"Runs that are averaged differ in more than the seed: {', '.join(differ)}."] if differ else []),
        *([f"{left} ensemble{'s have' if left > 1 else ' has'} no such factor and no place here."] if left else []),
    ]

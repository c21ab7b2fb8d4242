"""Make the results table of a report: cells with their texts, intervals, marks and sort keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from ensemble import results
from ensemble.report.report_data import ReportData

FIRST, LAST = ("name", "miou"), ("log_loss", "ece", "parameters", "seconds")
"""Columns that are visible at once, before and after those of the classes; the others appear on demand."""
OMITTED = ("kind", "images", "groups", "data", "data_hash", "split_hash", "git", "cpu", "device", "finished", "path")
"""Columns that the report shows elsewhere, or that are of no use to a reader."""
ENDS = ("_low", "_high")


@dataclass(frozen=True)
class Cell:
    """A cell of the table.

    Attributes:
        text: text of its value.
        key: number or text to sort by; None for a missing value.
        small: text below the value: the interval, or whether the run is a member or an ensemble.
        best, tied: whether it is the best of its column, or not significantly worse than the best.
    """

    text: str
    key: float | str | None
    small: str = ""
    best: bool = False
    tied: bool = False


@dataclass(frozen=True)
class ColumnHead:
    """Head of a column.

    Attributes:
        title: heading.
        about: description of the column.
        number: whether its values are numbers.
        first: direction that the first click sorts in, ``ascending`` or ``descending``.
        usual: whether it is visible at once.
    """

    title: str
    about: str
    number: bool
    first: str
    usual: bool


@dataclass(frozen=True)
class ResultsTable:
    """The table with the notes that belong below it."""

    heads: tuple[ColumnHead, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...]


def make_table(data: ReportData, tied: results.Ties) -> ResultsTable:
    """Return every column that has a value, the usual ones first, with the marks of ``ens results``."""
    frame, usual = data.frame, [*FIRST, *data.classes, *LAST]
    others = [name for name in results.COLUMNS if not name.endswith(ENDS)]
    names = [*usual, *(name for name in others if name not in (*usual, *OMITTED))]
    names = [name for name in names if name in FIRST or bool(frame[name].notna().any())]
    limits = [f"{name}{end}" for name in names for end in ENDS if f"{name}{end}" in frame]
    best, texts = results.best(frame), _texts(frame, [*names, *limits])
    heads, columns = list[ColumnHead](), list[list[Cell]]()
    for name in names:
        known = results.column(name)
        title, first = data.classes.get(name, known.title), "descending" if known.better == "high" else "ascending"
        heads.append(ColumnHead(title, known.about, known.unit != "text", first, name in usual))
        columns.append(_cells(frame, name, texts, _marks(best, name), _marks(tied.marks, name)))
    notes = results.show(frame, names).with_ties(tied).notes
    return ResultsTable(tuple(heads), tuple(zip(*columns, strict=True)), (*notes, *results.notes(frame)))


def _cells(
    frame: pd.DataFrame, name: str, texts: Mapping[str, list[str]], best: list[bool], tied: list[bool]
) -> list[Cell]:
    number = results.column(name).unit != "text"
    low, high = (texts.get(f"{name}{end}", [""] * len(frame)) for end in ENDS)
    small = [f"{one}\u2013{other}" if one and other else "" for one, other in zip(low, high, strict=True)]
    return [
        Cell(
            text=text or "\u2013",
            key=None if pd.isna(value) else float(value) if number else str(value).casefold(),
            small=below,
            best=is_best,
            tied=is_tied,
        )
        for text, value, below, is_best, is_tied in zip(
            texts[name], frame[name], frame["kind"] if name == "name" else small, best, tied, strict=True
        )
    ]


def _marks(marks: pd.DataFrame, name: str) -> list[bool]:
    return marks[name].astype(bool).tolist() if name in marks else [False] * len(marks)


def _texts(frame: pd.DataFrame, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the columns as ``ens results`` formats them, with an empty text for a missing value."""
    shown = results.show(frame, names)
    texts = {name: shown.texts[title] for title, name in shown.columns.items()}
    for name in names:  # Two classes may have the same title.
        if name not in texts:
            texts[name] = results.display(frame, [name]).iloc[:, 0]
    return {name: each.where(frame[name].notna(), "").astype(str).tolist() for name, each in texts.items()}

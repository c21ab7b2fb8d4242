"""The results table of a page: cells with their texts, intervals and marks, and what they are sorted by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from ensemble import results
from ensemble.report.report_data import Material

FIRST, LAST = ("name", "miou"), ("log_loss", "ece", "parameters", "seconds")
"""Columns that are seen at once, before and behind those of the classes; the others are seen on demand."""
SAID = ("kind", "images", "groups", "data", "data_hash", "split_hash", "git", "cpu", "device", "finished", "path")
"""Columns that are told elsewhere or are not for people."""
ENDS = ("_low", "_high")


@dataclass(frozen=True)
class Cell:
    """What stands in a cell.

    Attributes:
        text: its value.
        key: the number or text it is sorted by; None where nothing stands.
        small: what is written below it: the interval, or whether the run is a member or an ensemble.
        best, tied: whether it is the best of its column, or not significantly worse than that.
    """

    text: str
    key: float | str | None
    small: str = ""
    best: bool = False
    tied: bool = False


@dataclass(frozen=True)
class Head:
    """A column: its heading, what it holds, whether these are numbers, how it is sorted first, whether it is seen."""

    title: str
    about: str
    number: bool
    first: str
    usual: bool


@dataclass(frozen=True)
class Table:
    """The table, with sentences that belong below it."""

    heads: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...]


def make_table(material: Material, tied: results.Ties) -> Table:
    """Every column that holds something, the usual ones first, with the marks of ``ens results``."""
    frame, usual = material.frame, [*FIRST, *material.classes, *LAST]
    others = [name for name in results.COLUMNS if not name.endswith(ENDS)]
    names = [*usual, *(name for name in others if name not in (*usual, *SAID))]
    names = [name for name in names if name in FIRST or bool(frame[name].notna().any())]
    limits = [f"{name}{end}" for name in names for end in ENDS if f"{name}{end}" in frame]
    best, texts = results.best(frame), _texts(frame, [*names, *limits])
    heads, columns = list[Head](), list[list[Cell]]()
    for name in names:
        known = results.column(name)
        title, first = material.classes.get(name, known.title), "descending" if known.better == "high" else "ascending"
        heads.append(Head(title, known.about, known.unit != "text", first, name in usual))
        columns.append(_cells(frame, name, texts, _marks(best, name), _marks(tied.marks, name)))
    told = results.show(frame, names).with_ties(tied).notes
    return Table(tuple(heads), tuple(zip(*columns, strict=True)), (*told, *results.notes(frame)))


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
            best=top,
            tied=near,
        )
        for text, value, below, top, near in zip(
            texts[name], frame[name], frame["kind"] if name == "name" else small, best, tied, strict=True
        )
    ]


def _marks(marks: pd.DataFrame, name: str) -> list[bool]:
    return marks[name].astype(bool).tolist() if name in marks else [False] * len(marks)


def _texts(frame: pd.DataFrame, names: Sequence[str]) -> dict[str, list[str]]:
    """Columns as ``ens results`` shows them; empty where nothing stands."""
    shown = results.show(frame, names)
    texts = {name: shown.texts[title] for title, name in shown.columns.items()}
    for name in names:  # two classes may have one title
        if name not in texts:
            texts[name] = results.display(frame, [name]).iloc[:, 0]
    return {name: each.where(frame[name].notna(), "").astype(str).tolist() for name, each in texts.items()}

"""Format the table for people: texts instead of numbers, marks, and notes below."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from ensemble.core.formatting import duration, percent
from ensemble.results.best import best
from ensemble.results.class_scores import class_columns
from ensemble.results.columns import FOREGROUND, PARETO, SET, N
from ensemble.results.comparable import sets_of
from ensemble.results.find_column import column, resolve
from ensemble.results.grouping import Pivot
from ensemble.results.significance import Ties

INTERVAL = "95 % interval"
MISSING = "-"

_LEFT = (
    *(
        "name",
        SET,
        PARETO,
        "part",
        "architecture",
        "encoder",
        "loss",
        "augmentation",
        "sampler",
        "optimiser",
        "tta",
        "crop",
        "input",
        "student",
        "decision",
    ),
    "folds",
)
_COSTS = (
    N,
    "parameters",
    "gflops",
    "seconds",
    "latency_ms",
    "miou",
    "miou_without_rare",
    "miou_without_group",
    "miou_keras",
)
_HOMEWORK = r"^sample |\.npz "  # the layout of data that the metric of Keras comes from
# Boundary F1 is shown only on request: it means little for data in which annotators left void between the classes.
_RIGHT = ("dice", "image_miou", "pixel_accuracy", "log_loss", "brier", "ece")


@dataclass(frozen=True)
class FormattedTable:
    """A table of texts, with marks of the same form.

    Attributes:
        texts: the text of each cell, with the headings as columns.
        columns: the column of the results table for each heading.
        best: whether a cell is the best of its column.
        tied: whether a run is not significantly worse than the best.
        notes: sentences below the table.
    """

    texts: pd.DataFrame
    columns: Mapping[str, str]
    best: pd.DataFrame
    tied: pd.DataFrame
    notes: tuple[str, ...] = ()

    def with_ties(self, ties: Ties) -> FormattedTable:
        """Return the table with daggers, and with a note on their meaning and on columns that were not tested."""
        tested = [title for title, name in self.columns.items() if name in ties.tested]
        more = len(ties.problems) - 3
        problems = (*ties.problems[:3], *([f"... and {more} more that are not compared."] if more > 0 else []))
        if not tested:
            return replace(self, notes=(*self.notes, *problems))
        others = [title for title in self.texts if bool(self.best[title].any()) and title not in tested]
        note = (
            "\u2020: not significantly worse than the best (paired bootstrap over image groups, 95 % for all"
            f" comparisons of a column together){'; not tested: ' if others else ''}{', '.join(others)}."
        )
        return replace(self, tied=_by_title(self, ties.marks), notes=(*self.notes, note, *problems))


def display(frame: pd.DataFrame, columns: Sequence[str] | None = None, *, intervals: bool = False) -> pd.DataFrame:
    """Return the usual columns as texts: per cent with one decimal, times in minutes, millions of parameters.

    Args:
        frame: the results table, or groups made by `by`.
        columns: columns to show, including ``arch`` and names of classes (default: the usual columns).
        intervals: show the interval next to every score, not only next to the mIoU.

    Raises:
        UnknownName: the table has no such column.
    """
    return show(frame, columns, intervals=intervals).texts


def show(frame: pd.DataFrame, columns: Sequence[str] | None = None, *, intervals: bool = False) -> FormattedTable:
    """Return the texts of `display`, with the best of every column marked."""
    whole = frame if SET in frame.columns else frame.assign(**{SET: sets_of(frame)})
    names = usual_columns(whole) if columns is None else [resolve(name, whole.columns) for name in columns]
    if SET not in names and bool(whole[SET].nunique() > 1):  # the best is marked within each set
        names.insert(1, SET)
    cells: dict[str, tuple[str, Any]] = {}
    for name in names:
        title = column(name).title
        cells[name if title in cells else title] = (name, _texts(whole, name, intervals))  # "dice" and "IoU dice"
        if name == "miou" and columns is None and not intervals and "miou_low" in whole.columns:
            cells[INTERVAL] = ("miou_interval", _limits(whole, name))
    texts = pd.DataFrame({title: each for title, (_, each) in cells.items()}, index=frame.index)
    bare = FormattedTable(texts, {title: name for title, (name, _) in cells.items()}, texts, texts)
    return replace(bare, best=_by_title(bare, best(whole)), tied=_by_title(bare, pd.DataFrame(index=frame.index)))


def _by_title(shown: FormattedTable, marks: pd.DataFrame) -> pd.DataFrame:
    index = shown.texts.index
    nothing = pd.Series(False, index=index)
    return pd.DataFrame({title: marks.get(name, nothing) for title, name in shown.columns.items()}, index=index)


def usual_columns(frame: Any) -> list[str]:
    """Return the columns that are shown by default: those that say something about a row."""
    factors = list(frame.columns)[: list(frame.columns).index(SET)] if "name" not in frame.columns else []
    names = [*factors, *_LEFT, *_COSTS, *FOREGROUND, *class_columns(frame.columns), *_RIGHT]
    hidden = list[str]()
    if FOREGROUND[0] in frame.columns and len(frame) and bool(frame[FOREGROUND[0]].notna().all()):
        hidden += [*class_columns(frame.columns), "dice"]  # of two classes, the foreground is enough
    if not frame[SET].astype("string").str.contains(_HOMEWORK, regex=True).any() and len(frame):
        hidden.append("miou_keras")
    there = [name for name in dict.fromkeys(names) if name in frame.columns and name not in hidden]
    alike = [name for name in (SET, "optimiser") if name in frame.columns and frame[name].nunique() < 2]
    return [name for name in there if name not in alike if frame.empty or _is_informative(frame[name])]


def _is_informative(values: pd.Series) -> bool:
    return bool((values.notna() & (values.astype("string") != column(str(values.name)).usual)).any())


def _texts(frame: Any, name: str, intervals: bool) -> pd.Series:
    write = _WRITE[column(name).unit]
    texts = frame[name].map(lambda value: MISSING if pd.isna(value) else write(value)).astype("string")
    if column(name).unit in ("share", "nats") and f"{name}_sd" in frame.columns:
        spread = frame[f"{name}_sd"].map(lambda value: "" if pd.isna(value) else f" \u00b1 {write(value)}")
        return texts + spread.astype("string")
    if intervals and f"{name}_low" in frame.columns:
        limits = _limits(frame, name)
        return texts.where(limits == MISSING, texts + " (" + limits + ")")
    return texts.replace(column(name).usual, MISSING) if column(name).usual else texts


def _limits(frame: Any, name: str) -> pd.Series:
    write = _WRITE[column(name).unit]
    limits = [
        MISSING if pd.isna(low) else f"{write(low)}-{write(high)}"
        for low, high in zip(frame[f"{name}_low"], frame[f"{name}_high"], strict=True)
    ]
    return pd.Series(limits, index=frame.index, dtype="string")


def show_pivot(table: Pivot) -> FormattedTable:
    """Format means by two factors, each with its number of runs if there are several; mark the best mean."""
    write = _WRITE[column(table.score).unit]
    cells = {
        str(level): [
            MISSING if pd.isna(mean) else write(mean) + (f" (n={n})" if n > 1 else "")
            for mean, n in zip(table.means[level], table.counts[level], strict=True)
        ]
        for level in table.means.columns
    }
    keys = table.means.index.to_frame(index=False).astype("string").fillna(MISSING)
    keys.columns = [column(str(name)).title for name in keys.columns]
    texts = pd.concat([keys, pd.DataFrame(cells, index=keys.index, dtype="string")], axis=1)
    nothing = pd.DataFrame(False, index=texts.index, columns=texts.columns)
    tops = pd.concat([nothing[keys.columns], table.best.reset_index(drop=True)], axis=1)
    return FormattedTable(texts, dict.fromkeys(cells, table.score), tops, nothing)


def _plain(text: Any) -> str:
    """Return the text without characters that move a terminal's cursor or break a line."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", str(text))


_WRITE: dict[str, Callable[[Any], str]] = {
    "text": _plain,
    "flag": lambda value: "*" if value else "",
    "count": lambda value: f"{value:.0f}",
    "share": percent,
    "nats": lambda value: f"{value:.3f}",
    "millions": lambda value: f"{value / 1e6:.2f}",
    "time": duration,
    "gflops": lambda value: f"{value:.2f}",
    "ms": lambda value: f"{value:.1f}",
}

"""Tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import pandas as pd


def percent(value: float | None) -> str:
    """A share in per cent with one digit, a dash for nothing."""
    return "-" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], left: int = 1) -> Group:
    """A table under its title (which is never wrapped to the table's width); the first ``left`` columns are texts."""
    made = Table(header_style="bold", show_header=any(columns), box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        made.add_column(column, justify="left" if index < left else "right", overflow="fold")
    for row in rows:
        made.add_row(*(Text(str(cell)) for cell in row))
    return Group(*([Text(title, style="italic")] if title else []), made)


WORDY = ("architecture", "encoder", "loss", "augment", "sampler")  # said by the name already
LEFT_OUT = (*WORDY, "folds", "Keras", "pixels %", "params M", "ECE %", "log-loss", "time")  # in this order


def results_table(shown: pd.DataFrame, width: int, best: int | None = 0) -> Table:
    """The results as people read them, the best row in bold.

    Columns that are empty throughout are left out, and as many of ``LEFT_OUT`` as it takes to fit ``width``;
    ``ens results --format csv`` has them all.
    """
    columns = [str(column) for column in shown.columns if any(text != "-" for text in shown[column])]
    lengths = {column: max([len(column), *(len(str(text)) for text in shown[column])]) for column in columns}
    for column in LEFT_OUT:
        if sum(lengths[kept] + 2 for kept in columns) - 2 > width and column in columns:
            columns.remove(column)
    made = Table(header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        left = column in ("name", *WORDY)
        made.add_column(column, justify="left" if left else "right", no_wrap=not left, overflow="fold")
    for index, row in enumerate(shown[columns].itertuples(index=False)):
        made.add_row(*(Text(str(cell)) for cell in row), style="bold" if index == best else "")
    return made

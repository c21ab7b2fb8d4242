"""Tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import pandas as pd


def percent(value: float | None) -> str:
    """A share in per cent with one digit, a dash for nothing."""
    return "-" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], left: int = 1) -> Table:
    """A table whose first ``left`` columns are texts and the others numbers."""
    made = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        made.add_column(column, justify="left" if index < left else "right", overflow="fold")
    for row in rows:
        made.add_row(*(Text(str(cell)) for cell in row))
    return made


WORDY = ("architecture", "encoder", "loss", "augment")  # said by the name already, so left out where room is short
WIDE = 160


def results_table(shown: pd.DataFrame, width: int, best: int | None = 0) -> Table:
    """The results as people read them, the best row in bold.

    Columns that are empty throughout are left out, and what the name says already where ``width`` is short.
    """
    filled = [str(column) for column in shown.columns if any(text != "-" for text in shown[column])]
    columns = [column for column in filled if width >= WIDE or column not in WORDY]
    made = Table(header_style="bold", box=None, pad_edge=False)
    for column in columns:
        left = column in ("name", *WORDY)
        made.add_column(column, justify="left" if left else "right", no_wrap=not left, overflow="fold")
    for index, row in enumerate(shown[columns].itertuples(index=False)):
        made.add_row(*(Text(str(cell)) for cell in row), style="bold" if index == best else "")
    return made

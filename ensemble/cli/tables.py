"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    import pandas as pd


def percent(value: float | None) -> str:
    """A share in per cent with one digit, a dash for nothing."""
    return "-" if value is None or value != value else f"{100 * value:.1f}"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], left: int = 1) -> Table:
    """A table whose first ``left`` columns are texts and the others numbers."""
    made = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        made.add_column(column, justify="left" if index < left else "right", overflow="fold")
    for row in rows:
        made.add_row(*(str(cell) for cell in row))
    return made


def results_table(shown: pd.DataFrame, best: int | None = 0) -> Table:
    """The results as people read them; the best row in bold. Columns that are empty throughout are left out."""
    kept = shown.loc[:, [column for column in shown.columns if (shown[column] != "-").any()]]
    made = table("", list(kept.columns), [])
    for column in made.columns[1:]:
        header = str(column.header)
        column.justify = "left" if header in ("architecture", "encoder", "loss", "augment") else "right"
        column.no_wrap = header not in ("architecture", "loss")
    for index, row in enumerate(kept.itertuples(index=False)):
        made.add_row(*(str(cell) for cell in row), style="bold" if index == best else "")
    return made

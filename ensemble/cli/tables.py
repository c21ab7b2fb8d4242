"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ensemble.core.formatting import visible

if TYPE_CHECKING:
    import pandas as pd


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], left: int = 1) -> Group:
    """Return a table under its title, which may be wider than the table; the first ``left`` columns are texts."""
    result = Table(header_style="bold", show_header=any(columns), box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        result.add_column(_text(column), justify="left" if index < left else "right", overflow="fold")
    for row in rows:
        result.add_row(*(_text(cell) for cell in row))
    return Group(*([_text(title, "italic")] if title else []), result)


def _text(content: object, style: str = "") -> Text:
    return Text(visible(str(content)), style=style)


WORDY = ("architecture", "encoder", "loss", "augment", "sampler")
LEFT_OUT = (
    *WORDY, "folds", "Keras", "image mIoU %", "without one group %", "Brier", "BF1 %", "Dice %", "pixels %", "GFLOPs",
    "ms", "params M", "ECE %", "log-loss", "time", "without rare %",
)  # in this order, unless they are to be kept  # fmt: skip
KEPT = ("name", "architecture", "loss", "mIoU %")


def fitting(texts: pd.DataFrame, width: int, keep: Sequence[str] = KEPT) -> list[str]:
    """Return the columns that fit into ``width``; those of ``LEFT_OUT`` are dropped first, then others from the right.

    Args:
        texts: the formatted table.
        width: width of the terminal, in characters.
        keep: headings that are never dropped.
    """
    columns = [str(column) for column in texts.columns]
    lengths = {column: max([len(column), *(cell_len(str(text)) for text in texts[column])]) for column in columns}
    for column in (*LEFT_OUT, *reversed(columns)):
        if sum(lengths[kept] + 2 for kept in columns) - 2 > width and column in columns and column not in keep:
            columns.remove(column)
    return columns


def results_table(
    texts: pd.DataFrame, width: int, best: pd.DataFrame | None = None, keep: Sequence[str] = KEPT
) -> Table:
    """Return the results with the best of each column in bold, in as many columns as fit into ``width``."""
    columns = fitting(texts, width, keep)
    result = Table(header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        number = any(text[:1].isdigit() for text in texts[column]) and column not in ("name", *WORDY)
        result.add_column(_text(column), justify="right" if number else "left", no_wrap=number, overflow="fold")
    marks = texts[columns].map(lambda _: False) if best is None else best[columns]
    for cells, bold in zip(texts[columns].itertuples(index=False), marks.itertuples(index=False), strict=True):
        result.add_row(*(_text(text, "bold" if top else "") for text, top in zip(cells, bold, strict=True)))
    return result

"""Tables fit the terminal: what the name says already goes first, the mIoU never."""

from __future__ import annotations

import io
from itertools import pairwise

import pandas as pd
import pytest
from rich.console import Console

from ensemble.cli.tables import LEFT_OUT, percent, results_table, table

SHOWN = pd.DataFrame(
    {
        "name": ["attention-unet-unified-s0-63e799", "learned-3-433c6c"],
        "architecture": ["attention-unet", "learned of 3"],
        "encoder": ["-", "-"],
        "loss": ["unified", "-"],
        "augment": ["flips", "-"],
        "params M": ["0.27", "3.95"],
        "time": ["19 s", "57 s"],
        "mIoU %": ["39.7", "41.0"],
        "95 % interval": ["26.9-53.1", "30.1-52.0"],
        "Keras": ["39.7", "41.0"],
        "big rock": ["0.0", "3.2"],
        "log-loss": ["0.858", "0.801"],
    }
)


def printed(width: int) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=width).print(results_table(SHOWN, width))
    return [line.rstrip() for line in text.getvalue().splitlines()]


@pytest.mark.parametrize("width", [70, 80, 100, 120, 240])
def test_rows_fit_the_width_on_one_line_each(width: int) -> None:
    lines = printed(width)
    assert len(lines) == 3
    assert all(len(line) <= width for line in lines)
    assert "mIoU %" in lines[0]
    assert "big rock" in lines[0]
    assert lines[1].startswith("attention-unet-unified-s0-63e799 ")


def test_columns_go_in_the_stated_order() -> None:
    heads = [printed(width)[0] for width in (240, 110, 90, 75)]
    kept = [[name for name in LEFT_OUT if name in SHOWN and f" {name}" in head] for head in heads]
    assert "architecture" in kept[0]
    assert "loss" not in kept[1]
    assert "time" in kept[1]
    for wide, narrow in pairwise(kept):
        assert narrow == wide[len(wide) - len(narrow) :]


def test_a_column_without_a_value_is_left_out() -> None:
    assert "encoder" not in printed(240)[0]


def test_texts_from_data_are_not_markup() -> None:
    text = io.StringIO()
    Console(file=text, width=80).print(table("", ("class", "n"), [("[red]rock[/]", 3)]))
    assert "[red]rock[/]" in text.getvalue()


@pytest.mark.parametrize(("value", "text"), [(0.1234, "12.3"), (None, "-"), (float("nan"), "-"), (1.0, "100.0")])
def test_percent(value: float | None, text: str) -> None:
    assert percent(value) == text

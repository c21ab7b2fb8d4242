"""Tables fit the terminal: less important columns go first; name, architecture, loss and mIoU never go."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from ensemble.cli.tables import KEPT, LEFT_OUT, fitting, results_table, table

SHOWN = pd.DataFrame(
    {
        "name": ["attention-unet-unified-s0-63e799", "learned-3-433c6c"],
        "architecture": ["attention-unet", "learned of 3"],
        "encoder": ["resnet18", "-"],
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


def printed(width: int, shown: pd.DataFrame = SHOWN, keep: Sequence[str] = KEPT) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=width).print(results_table(shown, width, keep=keep))
    return [line.rstrip() for line in text.getvalue().splitlines()]


@pytest.mark.parametrize("width", [70, 80, 100, 120, 240])
def test_rows_fit_the_width_on_one_line_each(width: int) -> None:
    lines = printed(width)
    assert len(lines) == 3
    assert all(len(line) <= width for line in lines)
    assert all(title in lines[0] for title in KEPT)
    assert ("95 % interval" in lines[0]) == (width >= 80)
    assert ("big rock" in lines[0]) == (width >= 90)
    assert lines[1].startswith("attention-unet-unified-s0-63e799 ")


def test_columns_go_in_the_stated_order() -> None:
    heads = [printed(width)[0] for width in (240, 110, 90, 75)]
    kept = [[name for name in LEFT_OUT if name in SHOWN and name not in KEPT and f" {name}" in head] for head in heads]
    assert "encoder" in kept[0]
    assert "augment" not in kept[1]
    assert "time" in kept[1]
    for wide, narrow in pairwise(kept):
        assert narrow == wide[len(wide) - len(narrow) :]


def test_classes_go_from_the_right_when_nothing_else_is_left() -> None:
    short = ("name", "mIoU %", "95 % interval")
    many = SHOWN[list(short)].assign(**{f"class {k:02d}": ["50.0", "-"] for k in range(20)})
    assert fitting(many, 80, short) == [*short, "class 00", "class 01"]  # 32 + 6 + 13 + 2 x 8 and 4 gaps of 2
    assert len(printed(80, many, short)) == 3
    assert fitting(many, 10, short) == list(short)
    assert fitting(many, 60, short[:2]) == list(short)  # the interval goes after the classes


def test_what_was_asked_for_stays() -> None:
    assert fitting(SHOWN, 60, keep=("loss", "log-loss")) == ["name", "loss", "mIoU %", "log-loss"]


def test_numbers_stand_right_and_are_never_folded() -> None:
    some: Any = SHOWN[["name", "mIoU %", "log-loss"]]
    lines = printed(30, some, keep=("name", "mIoU %", "log-loss"))
    assert any(line.endswith("39.7     0.858") for line in lines)


def test_the_best_of_each_column_is_bold() -> None:
    best = pd.DataFrame(False, index=SHOWN.index, columns=SHOWN.columns)
    best.loc[1, "mIoU %"] = best.loc[0, "time"] = True
    text = io.StringIO()
    Console(file=text, width=240, force_terminal=True, color_system="standard").print(results_table(SHOWN, 240, best))
    lines = text.getvalue().splitlines()
    bold = [[part.split("\x1b[0m")[0].strip() for part in line.split("\x1b[1m")[1:]] for line in lines]
    assert bold[1:] == [["19 s"], ["41.0"]]


def test_texts_from_data_are_not_markup() -> None:
    text = io.StringIO()
    Console(file=text, width=80).print(table("", ("class", "n"), [("[red]rock[/]", 3)]))
    Console(file=text, width=80).print(results_table(pd.DataFrame({"name": ["[b]x[/]"], "[i]c[/]": ["1"]}), 80))
    assert all(part in text.getvalue() for part in ("[red]rock[/]", "[b]x[/]", "[i]c[/]"))

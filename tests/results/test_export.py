"""The table as texts, and every way of writing it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from markdown_it import MarkdownIt

from ensemble import results
from ensemble.core.errors import EnsError, UnknownName
from ensemble.results import by, display, pivot, show, show_pivot, ties, write

Make = Callable[..., pd.DataFrame]
NASTY = r"a|b*c_d <b>&amp; $x^2$ {50 %} \n ~#"
ROWS = [
    ["name", "loss", "mIoU %", "time"],
    [NASTY, "0.5*dice + 0.5*ce", "*60.0", "2.0 min"],
    ["near", "ce", "59.0\u2020", "*30 s"],
    ["far", "ce", "40.0", "60 s"],
]


# ---------------------------------------------------------------- texts


def test_the_usual_columns_are_those_that_hold_something(runs: Path) -> None:
    frame = results.load(runs)
    shown = display(frame)
    assert list(shown.columns[:5]) == ["name", "architecture", "loss", "augment", "params M"]
    assert [name for name in shown if name in ("encoder", "sampler", "tta", "folds", "GFLOPs", "ms")] == []
    at = list(shown.columns).index("mIoU %")
    assert list(shown.columns[at : at + 8]) == [
        "mIoU %",
        "95 % interval",
        "without rare %",  # big rock is in few groups
        "Keras",
        "soil",
        "bedrock",
        "sand",
        "big rock",
    ]
    best: Any = frame.loc[0]
    first: Any = shown.loc[0]
    assert first["mIoU %"] == f"{100 * best['miou']:.1f}"
    assert first["95 % interval"] == f"{100 * best['miou_low']:.1f}-{100 * best['miou_high']:.1f}"
    assert first["log-loss"] == f"{best['log_loss']:.3f}"
    assert first["name"] == best["name"]
    assert "mIoU %" in display(frame.head(0))


def test_the_optimiser_is_shown_if_there_are_several(runs: Path) -> None:
    frame = results.load(runs)
    for names, shown in ((["adamw", "muon"], True), (["muon", "muon"], False), (["adamw", "adamw"], False)):
        frame.loc[frame.kind == "member", "optimiser"] = names
        texts = display(frame)
        assert ("optimiser" in texts) == shown
        assert not shown or sorted(texts.optimiser) == sorted([*names, "-"])


def test_test_time_augmentation_is_shown_and_grouped_where_it_differs(make_table: Make) -> None:
    same = {"augmentation": "none", "sampler": "uniform", "architecture": "unet", "loss": "ce"}
    frame = make_table(*({**same, "tta": tta, "miou": miou} for tta, miou in (("none", 0.5), ("flips", 0.6))))
    shown = display(frame)
    assert list(shown["tta"]) == ["-", "flips"]
    assert ("augment" in shown, "sampler" in shown) == (True, False)  # to train without augmentation is not the rule
    assert "tta" not in display(frame.head(1))
    assert list(by(frame, ["tta"])["tta"]) == ["flips", "none"]
    assert results.varying(frame, ["architecture"]) == ["tta"]


def test_times_and_sizes_are_shown_in_readable_units(make_table: Make) -> None:
    frame = make_table(
        {"seconds": 12.4, "parameters": 1_234_567, "gflops": 0.754, "latency_ms": 3.14},
        {"seconds": 99.6, "parameters": 990, "selected": True},
        {"seconds": 600.0, "selected": False},
    )
    shown = display(frame, ["seconds", "parameters", "gflops", "latency_ms", "selected"])
    assert shown["time"].tolist() == ["12 s", "100 s", "10.0 min"]
    assert shown["params M"].tolist() == ["1.23", "0.00", "-"]
    assert shown.loc[0, ["GFLOPs", "ms"]].tolist() == ["0.75", "3.1"]
    assert shown["picked"].tolist() == ["-", "*", ""]


def test_columns_are_chosen_by_any_of_their_names(runs: Path) -> None:
    frame = results.load(runs)
    assert list(display(frame, ["arch", "big rock", "miou", "miou_low"])) == [
        *("architecture", "big rock", "mIoU %", "mIoU % low")
    ]
    with pytest.raises(UnknownName, match="unknown column 'rock'"):
        display(frame, ["rock"])


def test_intervals_beside_every_score(make_table: Make) -> None:
    frame = make_table(
        {"miou": 0.5, "miou_low": 0.4, "miou_high": 0.6, "iou_soil": 0.5, "log_loss": 0.25, "log_loss_low": 0.2}
        | {"log_loss_high": 0.3}
    )
    shown = display(frame, intervals=True)
    assert shown.loc[0, ["mIoU %", "soil", "log-loss"]].tolist() == ["50.0 (40.0-60.0)", "50.0", "0.250 (0.200-0.300)"]
    assert "95 % interval" not in shown


def test_a_run_without_an_interval_shows_a_dash(runs: Path) -> None:
    frame = results.load(runs)
    frame.loc[0, ["miou_low", "miou_high"]] = float("nan")
    assert display(frame)["95 % interval"].iloc[0] == "-"


def test_sets_are_shown_where_there_are_several(make_table: Make) -> None:
    frame = make_table({"miou": 0.5}, {"miou": 0.6, "split_hash": "6" * 32})
    assert display(frame)["data set, split"].tolist() == ["mars.npz dddd/5555", "mars.npz dddd/6666"]
    assert list(display(frame, ["miou", "seed"])) == ["mIoU %", "data set, split", "seed"]
    assert "data set, split" not in display(frame.head(1))


def test_groups_show_their_deviation(make_table: Make) -> None:
    rows = [
        {"loss": "ce", "seed": seed, "miou": miou, "iou_soil": miou, "seconds": 60}
        for seed, miou in enumerate((0.5, 0.6))
    ]
    groups = by(make_table(*rows, {"loss": "dice", "seed": 0, "miou": 0.7}), ["loss"])
    shown = display(groups)
    assert list(shown) == ["loss", "n", "time", "mIoU %", "soil"]
    assert shown["soil"].tolist() == ["-", "55.0 \u00b1 7.1"]
    assert not {"miou_sd", "iou_soil_sd", "seconds_sd"} & set(results.best(groups))
    assert shown["mIoU %"].tolist() == ["70.0", "55.0 \u00b1 7.1"]
    assert shown["n"].tolist() == ["1", "2"]
    assert show(groups).best["mIoU %"].tolist() == [True, False]
    alone = display(groups, ["miou_sd", "iou_soil_sd", "log_loss_sd", "seconds_sd"])
    assert list(alone) == ["mIoU % sd", "soil sd", "log-loss sd", "time sd"]
    assert alone.loc[1].tolist() == ["7.1", "7.1", "-", "0 s"]
    assert r"\begin{tabular}{lr}" in write(groups, "latex", shown=show(groups, ["loss", "miou_sd"]))


def test_a_pivot_as_texts(make_table: Make) -> None:
    rows = [("unet", "ce", 0.5), ("unet", "ce", 0.6), ("unet", "dice", 0.7), ("fpn", "ce", 0.4)]
    table = make_table(*({"architecture": arch, "loss": loss, "miou": miou} for arch, loss, miou in rows))
    shown = show_pivot(pivot(table, "arch", "loss"))
    assert shown.texts.to_dict("list") == {
        "architecture": ["fpn", "unet"],
        "ce": ["40.0", "55.0 (n=2)"],
        "dice": ["-", "70.0"],
    }
    assert shown.best.to_numpy().tolist() == [[False] * 3, [False, False, True]]


def test_control_characters_do_not_reach_a_terminal(make_table: Make) -> None:
    assert display(make_table({"name": "a\x1b[31mb\nc\rd"}), ["name"]).iloc[0, 0] == "a [31mb c d"


# ---------------------------------------------------------------- numbers


def test_csv_comes_back_as_it_was(runs: Path, tmp_path: Path) -> None:
    frame = results.load(runs)
    types: Any = {name: str(kind) for name, kind in frame.dtypes.items()}
    again = pd.read_csv(io.StringIO(write(frame, "csv")), dtype=types)
    pd.testing.assert_frame_equal(again, frame, check_exact=True)
    assert write(frame, "csv", tmp_path / "out" / "table.csv") == ""
    assert (tmp_path / "out" / "table.csv").read_text() == write(frame, "csv")
    assert "\r" not in write(frame, "csv")


def test_parquet_comes_back_as_it_was(runs: Path, tmp_path: Path) -> None:
    frame = results.load(runs)
    assert write(frame, "parquet", tmp_path / "table.parquet") == ""
    again = pd.read_parquet(tmp_path / "table.parquet")
    pd.testing.assert_frame_equal(again, frame)
    assert again.dtypes.equals(frame.dtypes)


def test_mistakes_in_writing(runs: Path, tmp_path: Path) -> None:
    frame = results.load(runs)
    with pytest.raises(EnsError, match=r"expected a file for Parquet, which is binary; pass one as out"):
        write(frame, "parquet")
    with pytest.raises(UnknownName, match=r"unknown format 'xlsx'. Known: csv, html, latex, markdown, parquet"):
        write(frame, "xlsx")
    (tmp_path / "file").write_text("")
    with pytest.raises(EnsError, match=r"cannot write .*table.csv: .*; choose another folder"):
        write(frame, "csv", tmp_path / "file" / "table.csv")


# ---------------------------------------------------------------- texts with marks


@pytest.fixture
def marked(make_table: Make) -> Any:
    """Three runs: the best, one marked as not worse, one neither; with a name that every format must escape."""
    table = make_table(
        {"name": NASTY, "loss": "0.5*dice + 0.5*ce", "miou": 0.6, "seconds": 120},
        {"name": "near", "loss": "ce", "miou": 0.59, "seconds": 30},
        {"name": "far", "loss": "ce", "miou": 0.4, "seconds": 60},
    )
    shown = show(table, ["name", "loss", "miou", "seconds"])
    tied = shown.tied.copy()
    tied.loc[1, "mIoU %"] = True
    return replace(shown, tied=tied, notes=("50 % of <these> are a|b.",))


def test_markdown_marks_the_best_and_those_that_tie(marked: Any) -> None:
    text = write(pd.DataFrame(), "markdown", shown=marked)
    page = Cells()
    page.feed(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text))
    assert page.rows == ROWS
    assert page.tags == {"table", "thead", "tbody", "tr", "th", "td", "strong", "p"}
    assert r"\$x^2\$" in text  # GitHub would set it as a formula
    assert text.splitlines()[6:] == ["Bold: the best of its column.", "", r"50 % of \<these> are a\|b."]


def test_latex_is_escaped_and_marked(marked: Any) -> None:
    text = write(pd.DataFrame(), "latex", shown=marked)
    assert r"\caption{Bold: the best of its column. 50 \% of $<$these$>$ are a$|$b.}" in text
    body = text[text.index(r"\toprule") :].splitlines()
    assert body[1] == r"name & loss & mIoU \% & time \\"
    assert body[3] == (
        r"a$|$b*c\_d $<$b$>$\&amp; \$x\textasciicircum{}2\$ \{50 \%\} \textbackslash{}n \textasciitilde{}\#"
        r" & 0.5*dice + 0.5*ce & \textbf{60.0} & 2.0 min \\"
    )
    assert body[4] == r"near & ce & 59.0$^{\dagger}$ & \textbf{30 s} \\"
    assert body[6:] == [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    assert r"\begin{tabular}{llrr}" in text
    unescaped = re.sub(r"\\[&%$#_{}\\]|\\[a-z]+\{[^{}]*\}|\$[<>|]\$|\$\^\{\\dagger\}\$", "", body[3].rstrip(" \\"))
    assert not re.search(r"[%$#_^~{}]", unescaped)


class Cells(HTMLParser):
    """Texts of the cells, the bold ones in asterisks."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.inside = tag
        elif tag == "strong":
            self.rows[-1][-1] += "*"

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data


def test_html_is_a_page_of_its_own_and_escaped(marked: Any) -> None:
    text = write(pd.DataFrame(), "html", shown=marked)
    assert text.startswith("<!DOCTYPE html>")
    page = Cells()
    page.feed(text)
    assert page.rows == ROWS
    assert "b" not in page.tags
    assert "50 % of &lt;these&gt; are a|b." in text
    assert "http" not in text
    assert write(pd.DataFrame(), "html", shown=marked) == text  # no random ids


def test_texts_are_written_to_files_too(marked: Any, tmp_path: Path) -> None:
    for form in ("markdown", "latex", "html"):
        assert write(pd.DataFrame(), form, tmp_path / form, shown=marked) == ""
        assert (tmp_path / form).read_text(encoding="utf-8") == write(pd.DataFrame(), form, shown=marked)


def test_a_table_without_a_best_says_nothing_of_bold(make_table: Make) -> None:
    assert "Bold" not in write(make_table({"miou": 0.5}), "markdown")
    empty = make_table({"miou": 0.5}).head(0)
    assert "mIoU %" in write(empty, "markdown")
    assert r"\toprule" in write(empty, "latex")
    assert "<table" in write(empty, "html")


def test_real_runs_in_every_format(runs: Path) -> None:
    frame = results.load(runs)
    shown = show(frame).with_ties(ties(frame, resamples=100))
    for form in ("markdown", "latex", "html"):
        text = write(frame, form, shown=shown)
        assert frame.loc[0, "name"] in text.replace(r"\_", "_")
        assert "nan" not in text.lower().replace("nano", "")
        assert "not significantly worse than the best" in text


def test_a_notebook_shows_the_same_table(runs: Path) -> None:
    frame = results.load(runs)
    text = results.styled(frame)._repr_html_() or ""  # pyright: ignore[reportPrivateUsage]
    page = Cells()
    page.feed(text)
    assert page.rows[0] == list(display(frame))
    assert page.rows[1][0] == frame.loc[0, "name"]
    assert "Bold: the best of its column." in text
    assert "big rock" in text


def test_two_classes_that_read_alike_keep_a_column_each(make_table: Make) -> None:
    shown = display(make_table({"iou_big_rock": 0.1, "iou_big__rock": 0.2}))
    assert shown["big rock"].tolist() == ["10.0"]
    assert shown["big_rock"].tolist() == ["20.0"]


def test_a_class_with_the_name_of_a_score_reads_otherwise(make_table: Make) -> None:
    names = {"miou": 0.1, "iou_mIoU": 0.2, "iou_Dice": 0.3, "dice": 0.4, "iou_log___2d___loss": 0.5, "log_loss": 0.6}
    shown = display(make_table(names | {"iou_soil": 0.7}), [*names, "soil"])
    assert list(shown) == ["mIoU %", "IoU mIoU", "IoU Dice", "Dice %", "IoU log-loss", "log-loss", "soil"]
    assert shown.loc[0].tolist() == ["10.0", "20.0", "30.0", "40.0", "50.0", "0.600", "70.0"]


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1"])
def test_no_text_is_a_formula_in_a_spreadsheet(make_table: Make, text: str) -> None:
    frame = make_table({"name": text, "loss": "ce", "miou": -0.5}).assign(**{text: ["x"]})
    (row,) = csv.DictReader(io.StringIO(write(frame, "csv")))
    assert row["name"] == f"'{text}"
    assert row[f"'{text}"] == "x"
    assert (row["loss"], row["miou"]) == ("ce", "-0.5")


@pytest.mark.parametrize("text", ["-", "+", "=", "-0.5", "+3", "a-", "a+", "1=2"])
def test_a_text_that_no_spreadsheet_runs_stays_as_it_is(make_table: Make, text: str) -> None:
    (row,) = csv.DictReader(io.StringIO(write(make_table({"name": text}), "csv")))
    assert row["name"] == text


def test_a_text_of_two_lines_stays_in_its_cell(make_table: Make) -> None:
    shown = show(make_table({"name": "two\nlines\x1b", "miou": 0.5}))
    for form in ("markdown", "latex"):
        assert any("two lines" in line for line in write(pd.DataFrame(), form, shown=shown).splitlines())

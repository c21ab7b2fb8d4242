"""Columns of classes: every class has its own, and its name can be read from them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ensemble import results
from ensemble.results.class_scores import CLASS_SCORES, class_columns, class_of, class_score_columns, column_of
from ensemble.results.find_column import column


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("big rock", "iou_big_rock"),
        ("Soil", "iou_Soil"),
        ("big_rock", "iou_big__rock"),
        ("rock (big)", "iou_rock___20______28___big___29___"),
        ("Fläche", "iou_Fläche"),
        ("m²", "iou_m___b2___"),
        ("too low", "iou_too_low_"),
        ("stone_sd", "iou_stone__sd_"),
    ],
)
def test_columns_of_classes(name: str, column: str) -> None:
    assert results.column_of(name) == column
    assert column.isidentifier()


@given(st.text(st.sampled_from("ab_ +2-lowsd\u00b2\u0301\n"), min_size=1))
@example("a___2b___")
@example("a+_b")
@example("_low_")
def test_a_column_is_of_one_class_only(name: str) -> None:
    column = results.column_of(name)
    assert class_of(column) == name
    assert class_columns([column, f"{column}_low", f"{column}_high", f"{column}_sd"]) == [column]
    assert results.column(f"{column}_low").about == f"low limit of {column}"


@pytest.mark.parametrize("name", ["big rock", "low", "f1", "a_b", "x+"])
@pytest.mark.parametrize("score", CLASS_SCORES)
def test_every_class_has_its_columns(name: str, score: str) -> None:
    made = column_of(name, score)
    assert class_score_columns([made, f"{made}_low", "object_f1", "ece_low", "miou"]) == [made]
    assert class_of(made, score) == name
    assert column(made).title == f"{name} {CLASS_SCORES[score][0]}"
    assert column(made).better == CLASS_SCORES[score][2]
    assert column(f"{made}_high").dtype == "float64"

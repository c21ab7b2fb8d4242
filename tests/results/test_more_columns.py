"""Columns of objects, images and robust scores: read from runs, shown when asked for, empty for older runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ensemble import results
from ensemble.core.files import read_json
from ensemble.results.class_scores import class_score_columns, column_of
from ensemble.results.find_column import column
from ensemble.results.significance import ties
from ensemble.runs.tables import read_tables


def test_the_columns_hold_the_scores_of_the_runs(runs: Path) -> None:
    frame: Any = results.load(runs).set_index("name")
    for name, row in frame.iterrows():
        scores = read_json(Path(str(row["path"])) / "scores.json")
        assert row["image_miou"] == scores["image_miou"]
        assert row["object_f1_high"] == scores["object_f1_high"] or pd.isna(row["object_f1_high"])
        for class_name, value in scores["object_recall_per_class"].items():
            assert row[column_of(class_name, "object_recall")] == value, name
        for class_name, value in scores["ece_per_class"].items():
            assert row[column_of(class_name, "ece")] == value
    assert frame["object_f1"].notna().all()


def test_scores_of_objects_are_shown_when_asked_for(runs: Path) -> None:
    frame: Any = results.load(runs)
    usual = results.display(frame)
    assert "image mIoU %" in usual
    assert not [title for title in usual if "object" in title or title.endswith(" Brier")]
    name = class_score_columns(frame.columns)[0]
    shown: Any = results.display(frame, ["name", "object_f1", name], intervals=True)
    assert list(shown) == ["name", "object F1 %", column(name).title]
    assert column(name).title.endswith("objects found %")
    assert "(" in shown["object F1 %"][0] or pd.isna(frame["object_f1_low"][0])


def test_older_runs_are_read_with_empty_columns(runs: Path, rewrite: Callable[..., None]) -> None:
    path = next((runs / "members").iterdir())
    scores: dict[str, Any] = read_json(path / "scores.json")
    new = [name for name in scores if "object" in name or "image_miou" in name or "per_class" in name]
    rewrite(path, "scores.json", **dict.fromkeys(new))
    frame: Any = results.load(runs).set_index("name")
    assert pd.isna(frame.loc[path.name, "object_f1"])
    assert pd.isna(frame.loc[path.name, "image_miou"])
    assert frame.drop(path.name)["object_f1"].notna().all()


def test_a_score_without_rare_classes_stands_beside_if_there_are_any(make_table: Callable[..., pd.DataFrame]) -> None:
    rows = [{"miou": 0.5, "miou_without_rare": 0.7, "deciding_group": "g3"}, {"miou": 0.4}]
    shown = results.display(make_table(*rows))
    assert shown["without rare %"].tolist() == ["70.0", "-"]
    assert "without rare %" not in results.display(make_table({"miou": 0.5}, {"miou": 0.4}))
    assert "deciding group" not in shown


def test_daggers_are_tested_for_images_and_objects(runs: Path) -> None:
    frame: Any = results.load(runs)
    found = ties(frame, resamples=20)
    if len(set(read_tables(Path(str(frame["path"][0]))).groups)) >= 10:
        assert {"image_miou", "object_recall", "object_f1"} <= set(found.tested)
    else:
        assert not found.tested


def test_means_over_runs_hold_the_scores_of_classes(runs: Path) -> None:
    frame: Any = results.load(runs)
    name = class_score_columns(frame.columns)[0]
    members = frame[frame["kind"] == "member"]
    means = results.by(frame, ["loss"])
    assert means[name].tolist() == pytest.approx([members[name].mean()])

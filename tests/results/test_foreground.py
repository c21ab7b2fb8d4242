"""Of two classes the table shows IoU and Dice of the foreground; the metric of Keras only for npz files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ensemble import results
from ensemble.combining.combine import combine
from ensemble.runs.member import Member


@pytest.fixture
def frame(make_member: Callable[..., Member], make_world: Callable[..., Any], tmp_path: Path) -> pd.DataFrame:
    three = make_world(classes=("cell", "other"))
    masks = np.minimum(three.masks_nhw, 1)
    world = replace(three, classes=("cell",), masks_nhw=masks, source="photos")
    for seed in range(2):
        make_member(tmp_path, seed=seed, background="class", world=world)
    combine(method="average", folds=2, runs=tmp_path)
    return results.load(tmp_path)


def test_members_and_ensembles_show_their_foreground(frame: pd.DataFrame, tmp_path: Path) -> None:
    assert frame["kind"].tolist().count("ensemble") == 1
    for row in frame.to_dict("records"):
        scores = results.load(tmp_path).set_index("name").loc[str(row["name"])]
        assert row["foreground_iou"] == scores["iou_cell"]
        assert row["foreground_iou_low"] == scores["iou_cell_low"] or pd.isna(scores["iou_cell_low"])
        expected = 2 * row["foreground_iou"] / (1 + row["foreground_iou"])
        assert row["foreground_dice"] == pytest.approx(expected)
    shown = results.display(frame)
    assert {"mIoU %", "foreground IoU %", "foreground Dice %"} <= set(shown)
    assert not {"background", "cell", "Dice %", "Keras"} & set(shown)


def test_other_tables_have_no_such_columns(make_table: Callable[..., pd.DataFrame]) -> None:
    rows = [{"miou": 0.5, "miou_keras": 0.4, "iou_soil": 0.5, "dice": 0.6, "data": data} for data in ("a.npz", "b")]
    table = make_table(*rows)
    assert not {"foreground IoU %", "foreground Dice %"} & set(results.display(table))
    assert {"Keras", "soil", "Dice %"} <= set(results.display(table))
    folder: Any = table[table["data"] == "b"].reset_index(drop=True)
    assert "Keras" not in results.display(folder)
    assert "Keras" in results.display(folder, ["name", "miou_keras"])

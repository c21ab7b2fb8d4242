"""The figures of the results table show its numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection

from ensemble import results
from ensemble.report import figures


def points(axis: Any) -> list[list[float]]:
    """Centres of the points on an axis, sorted by place."""
    found = np.concatenate([each.get_offsets() for each in axis.collections if isinstance(each, PathCollection)])
    return found[np.argsort(found[:, 1])].tolist()


def texts(axis: Any) -> list[str]:
    return [text.get_text() for text in axis.texts]


def rows_of(axis: Any) -> list[str]:
    return [label.get_text() for label in axis.get_yticklabels()]


def test_grid_shows_means_and_leaves_blank_what_was_not_trained() -> None:
    table = pd.DataFrame({"ce": [0.5, 0.25], "dice": [math.nan, 0.75]}, index=["unet", "pan"])
    (axis,) = figures.grid_figure(table).axes
    assert texts(axis) == ["50.0", "25.0", "75.0"]
    assert rows_of(axis) == ["unet", "pan"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["ce", "dice"]


def test_classes_have_a_panel_each_with_the_runs_in_order() -> None:
    frame = pd.DataFrame(
        {"name": ["a", "b"], "iou_sky": [0.9, 0.8], "iou_sky_low": [0.7, 0.6], "iou_sky_high": [0.95, 0.9]}
        | {"iou_sea": [0.1, math.nan], "kind": ["ensemble", "member"]}
    )
    sky, sea = figures.classes_figure(frame, {"iou_sky": "the sky", "iou_sea": "$sea"}).axes
    assert (sky.get_title(), sea.get_title()) == ("the sky", "$sea")
    assert points(sky) == [[pytest.approx(90), 0], [pytest.approx(80), 1]]
    assert points(sea)[0] == [pytest.approx(10), 0]
    assert rows_of(sky) == ["a", "b"]
    assert len(figures.classes_figure(frame).axes) == 2


def test_the_table_gives_the_figures_what_they_need(made: tuple[Path, Any]) -> None:
    frame = results.load(made[0])
    grid = results.pivot(frame, "architecture", "loss").means
    assert len(texts(figures.grid_figure(grid).axes[0])) == 3
    assert len(figures.classes_figure(frame).axes) == 4

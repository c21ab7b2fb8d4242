"""The figure of an ablation shows scores, gains and changes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection

from ensemble.report import figures


def points(axis: Any) -> list[list[float]]:
    """Centres of the points on an axis, sorted by place."""
    found = np.concatenate([each.get_offsets() for each in axis.collections if isinstance(each, PathCollection)])
    return found[np.argsort(found[:, 1])].tolist()


def rows_of(axis: Any) -> list[str]:
    return [label.get_text() for label in axis.get_yticklabels()]


STEPS = pd.DataFrame(
    {
        "name": ["unet", "weighted", "average"],
        "kind": ["member", "member", "ensemble"],
        "change": ["", "loss ce \u2192 weighted-ce", "against weighted"],
        "miou": [0.4, 0.48, 0.5],
        "miou_low": [0.35, 0.4, math.nan],
        "miou_high": [0.45, 0.55, math.nan],
        "gain": [math.nan, 0.08, -0.01],
        "gain_low": [math.nan, 0.02, -0.04],
        "gain_high": [math.nan, 0.14, 0.03],
    }
)


def test_ladder_shows_scores_gains_and_what_changed() -> None:
    left, right = figures.ladder_figure(STEPS, "Why?").axes
    assert points(left) == [[pytest.approx(value), place] for place, value in enumerate([40, 48, 50])]
    assert points(right)[1:] == [[pytest.approx(8), 1], [pytest.approx(-1), 2]]
    assert rows_of(left) == ["unet", "weighted\nloss ce \u2192 weighted-ce", "average\nagainst weighted"]
    lines = [path for each in left.collections if isinstance(each, LineCollection) for path in each.get_paths()]
    ends = [np.asarray(path.vertices)[:, 0].tolist() for path in lines]
    assert ends[:2] == [pytest.approx([35, 45]), pytest.approx([40, 55])]
    assert left.get_ylim()[0] > left.get_ylim()[1]  # the first step is on top


def test_ladder_without_gains_has_one_panel_and_needs_no_intervals() -> None:
    (axis,) = figures.ladder_figure(STEPS.loc[:, ["name", "miou"]]).axes
    assert [x for x, _ in points(axis)] == pytest.approx([40, 48, 50])

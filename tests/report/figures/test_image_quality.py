"""The figure of quality shows true against estimated values, and there is one only where something can be said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PathCollection

import ensemble
from ensemble.report import figures
from ensemble.report.figures.image_quality import MOST_POINTS, quality_chart
from ensemble.report.report_data import read_report_data
from ensemble.runs.member import Member
from tests.conftest import simulated_world


def test_points_are_images_and_misses_are_counted() -> None:
    found = np.array([[0.5, 0.4, 0.6], [0.7, 0.6, 0.8], [np.nan] * 3, [0.2, 0.1, 0.3]])
    (axis,) = figures.quality_figure(found, np.array([0.55, 0.9, 0.5, np.nan])).axes
    held, missed = (each for each in axis.collections if isinstance(each, PathCollection))
    np.testing.assert_allclose(np.asarray(held.get_offsets()), [[50, 55]])
    np.testing.assert_allclose(np.asarray(missed.get_offsets()), [[70, 90]])
    labels = [handle.get_label() for handle in (held, missed)]
    assert labels == ["interval holds: 1 images", "interval misses: 1 images"]


def test_many_images_are_thinned() -> None:
    found = np.tile([0.5, 0.4, 0.6], (3 * MOST_POINTS, 1))
    (axis,) = figures.quality_figure(found, np.full(len(found), 0.5)).axes
    held = next(each for each in axis.collections if isinstance(each, PathCollection))
    assert len(np.asarray(held.get_offsets())) == MOST_POINTS


@pytest.mark.parametrize("images", [60, 20])
def test_the_chart_of_an_ensemble(tmp_path: Path, make_member: Callable[..., Member], images: int) -> None:
    world = simulated_world(images=images)
    for name in ("unet", "fpn"):
        make_member(tmp_path, name, world=world)
    ensemble.combine(method="average", runs=tmp_path)
    chart = quality_chart(read_report_data(tmp_path))
    if images == 20:  # ten groups, of which eight are left without a fold
        assert chart is None
        return
    assert chart is not None
    assert chart.alt.startswith("quality without a mask (ens predict --quality), out of fold: rank correlation of")
    assert chart.alt[1:] in chart.caption
    assert chart.draw().axes

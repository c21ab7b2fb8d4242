"""The numbers on a heat map are readable, and every figure is exported."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from matplotlib import rc_context

from ensemble.report import figures
from ensemble.report.figures.drawing import heat_map, new_figure
from ensemble.report.figures.picture_grid import picture_grid


def test_numbers_on_a_heat_map_can_be_read() -> None:
    axis = new_figure(3, 3, "").subplots()
    heat_map(axis, np.array([[0.0, 1.0], [math.nan, 0.5]]), ["a", "b"], ["c", "d"], limits=(0, 1))
    assert [(text.get_text(), text.get_color()) for text in axis.texts][:2] == [("0.00", "white"), ("1.00", "black")]
    assert len(axis.texts) == 3


def test_every_figure_is_exported() -> None:
    for name in figures.__all__:
        assert callable(getattr(figures, name)), name
    assert len(figures.__all__) == 21


def test_names_are_written_as_they_are() -> None:
    figure = new_figure(3, 2, "a $\\frac{$ b")
    axis = figure.add_subplot()
    heat_map(axis, np.eye(2), ["$x$", "\u5ca9\x1b"], ["$\\alpha$", "$$"])
    stream = io.StringIO()
    with rc_context({"svg.fonttype": "none"}):
        figure.savefig(stream, format="svg")  # the commas of a formula would be drawn, and a wrong one raises
    for text in ("$x$", "$\\alpha$", "$$", "a $\\frac{$ b"):
        assert text in stream.getvalue()


@pytest.mark.parametrize("count", [2, 11, 20])
def test_a_legend_of_many_long_names_fits_into_its_figure(count: int) -> None:
    names = [f"class {k} of things that have a long name" for k in range(count)]
    figure = picture_grid([("image", np.zeros((1, 8, 8)))] * 3, names, ["first"])
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box, whole = legend.get_window_extent(), figure.bbox
    assert (box.x0 >= 0, box.x1 <= whole.x1, box.y0 >= 0) == (True, True, True)
    assert len(legend.get_texts()) == count + 1
    texts = [text.get_window_extent() for text in legend.get_texts()]
    assert not any(a.overlaps(b) for place, a in enumerate(texts) for b in texts[:place])
    assert min(axis.get_window_extent().y0 for axis in figure.axes) > box.y1

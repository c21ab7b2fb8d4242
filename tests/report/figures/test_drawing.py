"""The numbers on a heat map are readable, and every figure is exported."""

from __future__ import annotations

import io
import math

import numpy as np
from matplotlib import rc_context

from ensemble.report import figures
from ensemble.report.figures.drawing import heat_map, new_figure


def test_numbers_on_a_heat_map_can_be_read() -> None:
    axis = new_figure(3, 3, "").subplots()
    heat_map(axis, np.array([[0.0, 1.0], [math.nan, 0.5]]), ["a", "b"], ["c", "d"], limits=(0, 1))
    assert [(text.get_text(), text.get_color()) for text in axis.texts][:2] == [("0.00", "white"), ("1.00", "black")]
    assert len(axis.texts) == 3


def test_every_figure_is_exported() -> None:
    for name in figures.__all__:
        assert callable(getattr(figures, name)), name
    assert len(figures.__all__) == 19


def test_names_are_written_as_they_are() -> None:
    figure = new_figure(3, 2, "a $\\frac{$ b")
    axis = figure.add_subplot()
    heat_map(axis, np.eye(2), ["$x$", "\u5ca9\x1b"], ["$\\alpha$", "$$"])
    stream = io.StringIO()
    with rc_context({"svg.fonttype": "none"}):
        figure.savefig(stream, format="svg")  # the commas of a formula would be drawn, and a wrong one raises
    for text in ("$x$", "$\\alpha$", "$$", "a $\\frac{$ b"):
        assert text in stream.getvalue()

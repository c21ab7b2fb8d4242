"""The figures about members show the numbers of the explanation's tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ensemble.explanation.result import Explanation
from ensemble.report import figures


def texts(axis: Any) -> list[str]:
    return [text.get_text() for text in axis.texts]


def test_pairs_show_every_number_but_a_member_with_itself(explanation: Explanation) -> None:
    figure = figures.pairs_figure(explanation)
    disagreement, correlation, fault = (texts(axis) for axis in figure.axes)
    assert (len(disagreement), len(correlation), len(fault)) == (6, 6, 6)
    apart = ~np.eye(3, dtype=bool)
    assert [float(text) for text in disagreement] == pytest.approx(
        100 * explanation.pairs.disagreement_mm[apart], abs=0.05
    )
    assert [float(text) for text in correlation] == pytest.approx(
        explanation.pairs.error_correlation_mm[apart], abs=0.005
    )
    assert [float(text) for text in fault] == pytest.approx(100 * explanation.pairs.double_fault_mm[apart], abs=0.05)
    assert "-0.00" not in correlation
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["net0-ce", "net1-ce", "net2-ce"]


def test_contributions_show_points_with_intervals_and_classes(explanation: Explanation) -> None:
    figure = figures.contributions_figure(explanation)
    intervals, _, heat, _ = figure.axes
    lines, points, _ = intervals.collections
    values = 100 * explanation.contribution.shapley.value
    np.testing.assert_allclose(np.asarray(points.get_offsets())[:, 0], values[:, 0])
    ends = np.stack([np.asarray(path.vertices)[:, 0] for path in lines.get_paths()])
    np.testing.assert_allclose(ends[:, 0], 100 * explanation.contribution.shapley.low[:, 0])
    assert len(texts(heat)) == 3 * 4
    assert [label.get_text() for label in heat.get_xticklabels()] == list(explanation.classes)


def test_dropping_marks_who_could_go(explanation: Explanation) -> None:
    axis = figures.dropping_figure(explanation).axes[0]
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels[0] == "all members"
    assert labels[1] == "\u2212 net0-ce  (67 % of parameters left)"
    path = np.asarray(axis.lines[0].get_xdata())
    np.testing.assert_allclose(path, 100 * np.append(0, explanation.dropping["change"]))
    marked = len(np.asarray(axis.lines[1].get_xdata()))
    assert marked == len(explanation.contribution.spare)

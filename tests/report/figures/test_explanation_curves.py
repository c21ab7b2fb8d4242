"""The figures about certainty show the numbers of the explanation's tables."""

from __future__ import annotations

import numpy as np
import pytest

from ensemble.explanation.result import Explanation
from ensemble.report import figures


def test_reliability_shows_all_systems_before_and_after(explanation: Explanation) -> None:
    for axis, key in zip(figures.reliability_figure(explanation).axes, ("ece", "ece_after"), strict=True):
        legend = [text.get_text() for text in axis.get_legend().get_texts()]  # pyright: ignore[reportOptionalMemberAccess]
        for title, value in zip(legend, explanation.calibration[key], strict=True):
            assert f"ECE {100 * value:.1f} %" in title
        assert [title.split(":")[0] for title in legend][3:] == ["average", "ensemble (average)"]


def test_risk_ends_at_the_error_and_at_all_errors(explanation: Explanation) -> None:
    left, right = figures.risk_figure(explanation).axes
    for line in left.lines[:3]:
        assert np.asarray(line.get_ydata())[-1] == pytest.approx(100 * explanation.uncertainty["chance_aurc"][0])
    for line in right.lines[:3]:
        y = np.asarray(line.get_ydata())
        assert y[-1] == 100
        assert (np.diff(y) >= -1e-9).all()

"""All figures of a report in the order of the page."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ensemble.core.progress import Progress
from ensemble.explanation.result import Explanation
from ensemble.report.figures.explanation_curves import reliability_chart, risk_chart
from ensemble.report.figures.explanation_members import contributions_chart, diversity_chart
from ensemble.report.figures.image_quality import quality_chart
from ensemble.report.figures.promises import abstaining_chart
from ensemble.report.figures.single_runs import calibration_chart, confusions_chart, learning_chart
from ensemble.report.figures.steps import steps_chart
from ensemble.report.figures.svg import Chart
from ensemble.report.figures.table_scores import classes_chart, grid_chart
from ensemble.report.report_data import ReportData

MOST_MEMBERS = 8  # most members in a chart of an explanation


def run_charts(data: ReportData, progress: Progress) -> list[Chart]:
    """Return the figures of the runs that have something to show."""
    charts = (
        steps_chart(data, progress),
        grid_chart(data),
        classes_chart(data),
        learning_chart(data),
        confusions_chart(data),
        calibration_chart(data) if data.featured is None else None,  # the explanation of an ensemble shows more
        abstaining_chart(data, progress),
        quality_chart(data),
    )
    return [chart for chart in charts if chart is not None]


def explanation_charts(explanation: Explanation, titles: Mapping[str, str]) -> list[Chart]:
    """Return diversity, contributions, reliability and risk, of the members that contribute most.

    Args:
        explanation: from ``ensemble.explain``.
        titles: titles of the members by their names.
    """
    value_m = explanation.contribution.shapley.value[:, 0]
    best = np.argsort(-value_m, kind="stable")[:MOST_MEMBERS]
    members = {name: titles[name] for name in (explanation.members[m] for m in sorted(best.tolist()))}
    note = ""
    if len(value_m) > MOST_MEMBERS:
        note = f" The figure shows the {MOST_MEMBERS} of {len(value_m)} members that add most."
    return [
        diversity_chart(explanation, members, note),
        contributions_chart(explanation, members, note),
        reliability_chart(explanation, members, note),
        risk_chart(explanation),
    ]

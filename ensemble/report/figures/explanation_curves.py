"""Figures of an explanation about certainty, with captions: reliability and its calibration, risk by coverage."""

from __future__ import annotations

from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensemble.core.formatting import in_percent
from ensemble.evaluation.calibration import expected_calibration_error
from ensemble.explanation.result import Explanation
from ensemble.report.figures.drawing import (
    LINE_COLOURS,
    LINE_STYLES,
    ORANGE,
    SMALLEST_SHARE,
    label_axis,
    line_style,
    new_figure,
    reliability_curve,
)
from ensemble.report.figures.explanation_members import Titles, places_and_titles
from ensemble.report.figures.svg import Chart

THIN, THICK = 1.2, 2.8  # line widths of members, and of average and ensemble


def reliability_figure(explanation: Explanation, members: Titles = None) -> Figure:
    """Draw accuracy against confidence of members, average and ensemble, before and after a fitted temperature.

    Args:
        explanation: from ``ensemble.explain``.
        members: titles of the members to draw by their names (default: all members with short names).
    """
    places, names = places_and_titles(explanation, members)
    shown = [explanation.members[m] for m in places]
    systems = {name: (names[index], line_style(index), THIN) for index, name in enumerate(shown)}
    systems["average"] = ("average", {"color": "black", "linestyle": LINE_STYLES[0]}, THICK)
    systems["ensemble"] = (f"ensemble ({explanation.method})", {"color": ORANGE, "linestyle": LINE_STYLES[1]}, THICK)
    figure = new_figure(12, 5.4 + 0.1 * len(systems), "Is a pixel right as often as the system is sure?")
    panels: list[Axes] = list(figure.subplots(1, 2, sharey=True))
    for axis, after in zip(panels, (False, True), strict=True):
        axis.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
        for name, (title, style, width) in systems.items():
            one = explanation.calibrations[name]
            table = one.after if after else one.before
            label = f"{title}: ECE {in_percent(expected_calibration_error(table))}"
            label += f", T = {one.temperature:.2f}" if after else ""
            axis.plot(*reliability_curve(table), **style, linewidth=width, marker="o", markersize=3, label=label)
        axis.set_title(
            "after a temperature fitted on the other half of the images" if after else "as they are", fontsize=9
        )
        axis.set_xlabel("confidence (mean of the bin)", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, frameon=False)
    panels[0].set_ylabel("share of the pixels that are right", fontsize=8)
    return figure


def risk_figure(explanation: Explanation) -> Figure:
    """Draw the errors among the most certain pixels, and those found among the most uncertain ones, per measure."""
    figure = new_figure(11, 4.6, f"Does uncertainty find the errors? (ensemble: {explanation.method})")
    left, right = figure.subplots(1, 2)
    risks = explanation.risks
    error = next(iter(risks.values())).error
    share = np.linspace(0, 1, 401)
    for (name, risk), colour, style in zip(risks.items(), LINE_COLOURS, LINE_STYLES, strict=False):
        coverage, wrong = risk.curve()
        coverage, wrong = coverage[coverage > SMALLEST_SHARE], wrong[coverage > SMALLEST_SHARE]
        line = {"color": colour, "linestyle": style}
        left.plot(coverage, 100 * wrong, **line, label=f"{name}: AURC {100 * risk.aurc:.2f} %")
        part_found = [100 * risk.errors_found(part) for part in share]
        right.plot(100 * share, part_found, **line, label=f"{name}: {in_percent(risk.errors_found(0.1), 0)} in 10 %")
    best = 100 * np.maximum(0, share - (1 - error)) / np.maximum(share, 1e-9)
    left.plot(share, best, color="grey", linewidth=1, label="perfect ranking")
    left.axhline(100 * error, color="grey", linewidth=1, linestyle=":", label="no ranking")
    right.plot(100 * share, 100 * np.minimum(1, share / max(error, 1e-9)), color="grey", linewidth=1)
    right.plot([0, 100], [0, 100], color="grey", linewidth=1, linestyle=":")
    label_axis(left, "coverage: share of the pixels kept, most certain first", "wrong among them, %")
    label_axis(right, "most uncertain pixels looked at, %", "errors found, %")
    for axis, place in ((left, "upper left"), (right, "lower right")):
        axis.legend(fontsize=8, frameon=False, loc=place)  # to look for the best place is slow, with a warning
    return figure


def reliability_chart(explanation: Explanation, members: Titles, note: str) -> Chart:
    """Return accuracy against confidence, before and after a temperature."""
    ece = explanation.calibration.set_index("system")["ece"]
    alt = f"expected calibration error: average {in_percent(ece['average'])}, ensemble {in_percent(ece['ensemble'])}"
    caption = (
        "Below the grey line a system is too sure of itself. ECE (expected calibration error) is the mean distance to"
        f" the line over all pixels. The weights of the ensemble, if it has any, were fitted on these images.{note}"
    )
    return Chart("reliability", "Reliability", caption, alt, partial(reliability_figure, explanation, members))


def risk_chart(explanation: Explanation) -> Chart:
    """Return errors against uncertainty."""
    found = explanation.risks["entropy"].errors_found(0.1)
    alt = f"the most uncertain 10 % of the pixels by entropy hold {in_percent(found, 0)} of the errors"
    caption = (
        "Left: the share of wrong pixels among the most certain ones. AURC is the area under the curve; lower is"
        " better. Right: the share of all errors that you find by checking the most uncertain pixels first. The weights"
        " of the ensemble, if it has any, were fitted on these images."
    )
    return Chart("risk", "Risk and coverage", caption, alt, partial(risk_figure, explanation))

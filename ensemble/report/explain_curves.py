"""Figures of an explanation about certainty: reliability before and after calibration, risk against coverage."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensemble.evaluation.calibration import expected_calibration_error
from ensemble.explanation.result import Explanation
from ensemble.report.drawing import FEWEST, INK, ORANGE, STYLES, new_figure, reliability_curve
from ensemble.report.short_names import short_names

THIN, THICK = 1.2, 2.8  # lines of members, of average and ensemble


def reliability_figure(explanation: Explanation) -> Figure:
    """Accuracy against confidence of members, average and ensemble, before and after a fitted temperature."""
    members = short_names(explanation.members)
    calibrations = list(explanation.calibrations.values())
    titles = [*members, "average", f"ensemble ({explanation.method})"]
    figure = new_figure(12, 5.4 + 0.1 * len(titles), "Is a pixel right as often as the system is sure?")
    panels: list[Axes] = list(figure.subplots(1, 2, sharey=True))
    for axis, after in zip(panels, (False, True), strict=True):
        axis.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
        for index, (title, one) in enumerate(zip(titles, calibrations, strict=True)):
            table = one.after if after else one.before
            error = f"{100 * expected_calibration_error(table):.1f} %"
            heat = f", T = {one.temperature:.2f}" if after else ""
            member = index < len(members)
            axis.plot(
                *reliability_curve(table),
                color=INK[index % len(INK)] if member else ("black" if index == len(members) else ORANGE),
                linestyle=STYLES[index // len(INK) % len(STYLES)] if member else STYLES[index - len(members)],
                linewidth=THIN if member else THICK,
                marker="o",
                markersize=3,
                label=f"{title}: ECE {error}{heat}",
            )
        axis.set_title(
            "after a temperature fitted on the other half of the images" if after else "as they are", fontsize=9
        )
        axis.set_xlabel("confidence (mean of the bin)", fontsize=8)
        axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, frameon=False)
    panels[0].set_ylabel("share of the pixels that are right", fontsize=8)
    return figure


def risk_figure(explanation: Explanation) -> Figure:
    """Error among the most certain pixels, and errors found among the most uncertain ones, per measure."""
    figure = new_figure(11, 4.6, f"Does uncertainty find the errors? (ensemble: {explanation.method})")
    left, right = figure.subplots(1, 2)
    risks = explanation.risks
    error = next(iter(risks.values())).error
    share = np.linspace(0, 1, 401)
    for (name, risk), colour, style in zip(risks.items(), INK, STYLES, strict=False):
        coverage, wrong = risk.curve()
        coverage, wrong = coverage[coverage > FEWEST], wrong[coverage > FEWEST]
        left.plot(coverage, 100 * wrong, color=colour, linestyle=style, label=f"{name}: AURC {100 * risk.aurc:.2f} %")
        found = [100 * risk.errors_found(part) for part in share]
        right.plot(
            100 * share,
            found,
            color=colour,
            linestyle=style,
            label=f"{name}: {100 * risk.errors_found(0.1):.0f} % in 10 %",
        )
    best = 100 * np.maximum(0, share - (1 - error)) / np.maximum(share, 1e-9)
    left.plot(share, best, color="grey", linewidth=1, label="every error found first")
    left.axhline(100 * error, color="grey", linewidth=1, linestyle=":", label="no ranking")
    right.plot(100 * share, 100 * np.minimum(1, share / max(error, 1e-9)), color="grey", linewidth=1)
    right.plot([0, 100], [0, 100], color="grey", linewidth=1, linestyle=":")
    left.set_xlabel("coverage: share of the pixels kept, most certain first", fontsize=8)
    left.set_ylabel("wrong among them, %", fontsize=8)
    right.set_xlabel("most uncertain pixels looked at, %", fontsize=8)
    right.set_ylabel("errors found, %", fontsize=8)
    for axis in (left, right):
        axis.legend(fontsize=8, frameon=False)
        axis.grid(alpha=0.3)
    return figure

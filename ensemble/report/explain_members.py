"""Figures of an explanation about members: how alike they are, what each adds, and which could go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ensemble.evaluation.contribution import Estimates
from ensemble.explanation.result import Explanation
from ensemble.report.drawing import ACCENT, CELL, DARK, heat_map, new_figure
from ensemble.report.short_names import short_names


def pairs_figure(explanation: Explanation) -> Figure:
    """Heat maps of disagreement, error correlation and double fault between members."""
    tally, names = explanation.pairs, short_names(explanation.members)
    panels = {
        "disagreement: % of pixels decided differently": 100 * tally.disagreement_mm,
        "correlation of errors (1: the same pixels)": tally.error_correlation_mm,
        "double fault: % of pixels both get wrong": 100 * tally.double_fault_mm,
    }
    side = max(2.6, CELL * len(names))
    figure = new_figure(3 * side + 3.2, side + 2.0, "How alike are the members?")
    axes = figure.subplots(1, 3)
    for column, (axis, (title, table)) in enumerate(zip(axes, panels.items(), strict=True)):
        apart = np.where(np.eye(len(names), dtype=bool), np.nan, table)  # a member is alike to itself
        heat_map(axis, apart, names if column == 0 else [""] * len(names), names, "cividis")
        axis.set_title(title, fontsize=9)
    return figure


def contributions_figure(explanation: Explanation) -> Figure:
    """Shapley values and leave-one-out of every member, in mIoU with intervals, and per class."""
    found, names = explanation.contribution, short_names(explanation.members)
    parts = {
        "Shapley value: mean gain over all orders of joining": found.shapley,
        "leave-one-out: average of all minus average of the others": found.leave_one_out,
    }
    height = max(1.6, 0.42 * len(names))
    width = max(4.4, CELL * len(explanation.classes) + 1.2)
    title = f"What each member adds to the average of all (95 % intervals; {explanation.sampled:,} pixels)"
    if found.sampling_error.any():
        title += "\nblack: what drawing orders of the members leaves open"
    figure = new_figure(2 * width + 2.2, 2 * height + 2.8, title)
    axes = figure.subplots(2, 2)
    for column, (what, part) in enumerate(parts.items()):
        beside = names if column == 0 else [""] * len(names)
        _whiskers(axes[0, column], part, beside, found.sampling_error[:, 0] * (column == 0))
        axes[0, column].set_title(what, fontsize=9)
        axes[0, column].set_xlabel("points of mIoU", fontsize=8)
        per_class = 100 * part.value[:, 1:]
        heat_map(axes[1, column], per_class, beside, explanation.classes, "PuOr_r", centred=True)
        axes[1, column].set_title("the same per class, points of IoU", fontsize=9)
    return figure


def dropping_figure(explanation: Explanation) -> Figure:
    """Change of the average's mIoU when members are dropped one after the other, and the parameters left."""
    table = explanation.dropping
    names = dict(zip(explanation.members, short_names(explanation.members), strict=True))
    all_parameters = sum(cost["parameters"] for cost in explanation.costs.values())
    share = table["parameters_left"].to_numpy() / all_parameters
    labels = ["all members"]
    for name, left in zip(table["dropped"], share, strict=True):
        labels.append(
            f"\u2212 {names[str(name)]}" + ("" if np.isnan(left) else f"  ({100 * left:.0f} % of parameters left)")
        )
    figure = new_figure(
        8.5, 1.6 + 0.38 * len(labels), "Which members could go? (each step drops the one that costs least)"
    )
    axis: Axes = figure.subplots()
    change, low, high = (100 * np.append(0, table[key].to_numpy(float)) for key in ("change", "low", "high"))
    place = np.arange(len(labels))
    axis.hlines(place, low, high, color=DARK, linewidth=2, alpha=0.5)
    axis.plot(change, place, "o-", color=DARK, linewidth=1)
    free = np.append(False, table["no_loss"].to_numpy(bool))
    axis.plot(change[free], place[free], "o", color=ACCENT, markersize=9, label="could go at no loss on these images")
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(place, labels, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel(
        "change of the average's mIoU, points (95 % interval; the order is chosen on the same images)", fontsize=8
    )
    if free.any():
        axis.legend(fontsize=8, loc="best")
    return figure


def _whiskers(axis: Axes, part: Estimates, names: Sequence[str], error_m: NDArray[np.float64]) -> None:
    """A point with its interval per member, in mIoU; in black what drawing orders of the members leaves open."""
    place = np.arange(len(part.value))
    value, low, high = (100 * table[:, 0] for table in (part.value, part.low, part.high))
    axis.hlines(place, low, high, color=DARK, linewidth=2, alpha=0.5)
    axis.plot(value, place, "o", color=DARK)
    axis.hlines(place, value - 196 * error_m, value + 196 * error_m, color="black", linewidth=1.5)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(place, names, fontsize=8)
    axis.set_ylim(len(place) - 0.5, -0.5)
    axis.tick_params(axis="x", labelsize=8)

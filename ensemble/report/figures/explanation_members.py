"""Figures of an explanation about members, with captions: how alike they are, what each adds, which can be dropped."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensemble.core.formatting import in_percent
from ensemble.evaluation.caveats import RARE
from ensemble.explanation.result import Explanation
from ensemble.report.figures.drawing import (
    BLUE,
    CELL,
    MOST_ABREAST,
    NARROW_CELL,
    RED,
    heat_map,
    interval_points,
    name_rows,
    new_figure,
)
from ensemble.report.figures.svg import Chart
from ensemble.report.short_names import short_names

Titles = Mapping[str, str] | None
"""Titles of the members to draw by their names; None draws all of them with short names."""


def places_and_titles(explanation: Explanation, members: Titles) -> tuple[list[int], list[str]]:
    """Return the positions of the members to draw among all members, and their titles."""
    titles = members or dict(zip(explanation.members, short_names(explanation.members), strict=True))
    return [explanation.members.index(name) for name in titles], list(titles.values())


def pairs_figure(explanation: Explanation, members: Titles = None) -> Figure:
    """Draw heat maps of disagreement, error correlation and double fault of pairs of members.

    Args:
        explanation: from ``ensemble.explain``.
        members: titles of the members to draw by their names (default: all members with short names).
    """
    places, names = places_and_titles(explanation, members)
    tally = explanation.pairs
    panels = {
        "disagreement: % of pixels decided differently": 100 * tally.disagreement_mm,
        "correlation of errors (1: the same pixels)": tally.error_correlation_mm,
        "double fault: % of pixels both get wrong": 100 * tally.double_fault_mm,
    }
    side = max(2.6, CELL * len(names))
    figure = new_figure(3 * side + 3.2, side + 2.0, "How alike are the members?")
    axes = figure.subplots(1, 3)
    for column, (axis, (title, table_mm)) in enumerate(zip(axes, panels.items(), strict=True)):
        shown = np.where(np.eye(len(names), dtype=bool), np.nan, table_mm[np.ix_(places, places)])
        heat_map(axis, shown, names if column == 0 else [""] * len(names), names)
        axis.set_title(title, fontsize=9)
    return figure


def contributions_figure(explanation: Explanation, members: Titles = None) -> Figure:
    """Draw the Shapley value and leave-one-out of every member, in points of mIoU with intervals, and per class.

    Args:
        explanation: from ``ensemble.explain``.
        members: titles of the members to draw by their names (default: all members with short names).
    """
    places, names = places_and_titles(explanation, members)
    contribution = explanation.contribution
    parts = {
        "Shapley value: mean gain over all orders of joining": contribution.shapley,
        "leave-one-out: average of all minus average of the others": contribution.leave_one_out,
    }
    many = len(explanation.classes) > MOST_ABREAST  # two maps next to each other would not fit on a page
    cell = NARROW_CELL if many else CELL
    width, height = max(4.4, cell * len(explanation.classes) + 1.2), max(1.6, 0.42 * len(names))
    intervals = "too few groups of images for intervals" if contribution.reason else "95 % intervals"
    title = f"What does each member add to the average? ({intervals}; {explanation.sampled:,} pixels)"
    if contribution.sampling_error.any():
        title += "\nblack: uncertainty because only some orders of joining were tried"
    across, down = (1, 2) if many else (2, 1)
    figure = new_figure(across * width + 2.2, down * (2 * height + 2.8), title)
    axes = figure.subplots(2 * down, across, squeeze=False).reshape(-1, 2).T if many else figure.subplots(2, 2)
    place = np.arange(len(names))
    classes = [RARE * rare + name for name, rare in zip(explanation.classes, explanation.rare, strict=True)]
    for column, (what, part) in enumerate(parts.items()):
        rows = names if column == 0 or many else [""] * len(names)
        axis: Axes = axes[0, column]
        value, low, high = (100 * table[places, 0] for table in (part.value, part.low, part.high))
        interval_points(axis, place, value, low, high, BLUE)
        if column == 0:
            error = 196 * contribution.sampling_error[places, 0]
            axis.hlines(place, value - error, value + error, color="black", linewidth=1.5)
        axis.axvline(0, color="black", linewidth=0.8)
        name_rows(axis, rows)
        axis.set_title(what, fontsize=9)
        axis.set_xlabel("points of mIoU", fontsize=8)
        heat_map(axes[1, column], 100 * part.value[places, 1:], rows, classes, "PuOr_r", centred=True)
        few = f"; {RARE}: too few groups to trust" if any(explanation.rare) else ""
        axes[1, column].set_title(f"the same per class, points of IoU{few}", fontsize=9)
    return figure


def dropping_figure(explanation: Explanation) -> Figure:
    """Draw how the average's mIoU changes when members are dropped one by one, and the share of parameters left."""
    table = explanation.dropping
    names = dict(zip(explanation.members, short_names(explanation.members), strict=True))
    share = table["parameters_left"].to_numpy() / sum(cost["parameters"] for cost in explanation.costs.values())
    labels = ["all members"]
    for name, left in zip(table["dropped"], share, strict=True):
        parameters = "" if np.isnan(left) else f"  ({in_percent(left, 0)} of parameters left)"
        labels.append(f"\u2212 {names[str(name)]}{parameters}")
    title = "Which members could go? (each step drops the one that costs least)"
    figure = new_figure(8.5, 1.6 + 0.38 * len(labels), title)
    axis: Axes = figure.subplots()
    change, low, high = (100 * np.append(0, table[key].to_numpy(float)) for key in ("change", "low", "high"))
    place = np.arange(len(labels))
    axis.hlines(place, low, high, color=BLUE, linewidth=2, alpha=0.5)
    axis.plot(change, place, "o-", color=BLUE, linewidth=1)
    free = np.append(False, table["no_loss"].to_numpy(bool))
    axis.plot(change[free], place[free], "o", color=RED, markersize=9, label="could go without loss on these images")
    axis.axvline(0, color="black", linewidth=0.8)
    name_rows(axis, labels)
    axis.grid(visible=False)
    interval = "too few groups of images for an interval" if explanation.contribution.reason else "95 % interval"
    axis.set_xlabel(
        f"change of the average's mIoU, points ({interval}; the order is chosen on the same images)", fontsize=8
    )
    if free.any():
        axis.legend(fontsize=8, loc="best")
    return figure


def diversity_chart(explanation: Explanation, members: Titles, note: str) -> Chart:
    """Return how alike the members are."""
    means = explanation.pairwise[["disagreement", "error_correlation"]].mean()
    alt = (
        f"mean over all pairs of members: they decide {in_percent(means['disagreement'])} of the pixels differently;"
        f" their errors correlate by {means['error_correlation']:.2f}"
    )
    caption = f"Members help each other if they make errors on different pixels.{note}"
    return Chart("diversity", "Diversity", caption, alt, partial(pairs_figure, explanation, members))


def contributions_chart(explanation: Explanation, members: Titles, note: str) -> Chart:
    """Return what each member adds to the average of all."""
    value_m = 100 * explanation.contribution.shapley.value[:, 0]
    places, titles = places_and_titles(explanation, members)
    ranked = sorted(zip(places, titles, strict=True), key=lambda entry: -value_m[entry[0]])
    values = [f"{title} {value_m[m]:+.1f}" for m, title in ranked]
    caption = f"What each member adds to the plain average of all members; the ensemble's weights play no role.{note}"
    draw = partial(contributions_figure, explanation, members)
    return Chart(
        "contributions", "Contributions", caption, f"Shapley values in points of mIoU: {', '.join(values)}", draw
    )

"""The figure of an ablation: the score of each step and what the step brought, with its caption."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensemble.core.formatting import in_percent
from ensemble.core.progress import Progress
from ensemble.report.figures.drawing import RED, interval_points, label_axis, name_rows, new_figure
from ensemble.report.figures.svg import Chart, alt_list
from ensemble.report.figures.table_scores import draw_scores, numbers
from ensemble.report.ladder import ladder
from ensemble.report.report_data import ReportData


def ladder_figure(steps: pd.DataFrame, title: str = "What did each step bring?") -> Figure:
    """Draw the mIoU of each step with its interval and, on the right, the gain over the step it is compared with.

    Args:
        steps: a row per step, the first on top: ``name``, ``miou``, ``miou_low``, ``miou_high``; optional ``change``
            (what the step changed, in words), ``kind`` (ensembles are orange), and ``gain``, ``gain_low``,
            ``gain_high``, paired differences. Scores are shares of 1.
        title: title of the figure.

    >>> from ensemble.report import figures
    >>> steps = pd.DataFrame({"name": ["unet", "+ weights"], "miou": [0.4, 0.5], "gain": [np.nan, 0.1]})
    >>> [axis.get_xlabel() for axis in figures.ladder_figure(steps).axes]
    ['mIoU, %', 'gain, points of mIoU']
    """
    gain = 100 * numbers(steps, "gain")
    changes = steps["change"] if "change" in steps else [""] * len(steps)
    names = [f"{name}\n{change}" if change else str(name) for name, change in zip(steps["name"], changes, strict=True)]
    with_gains = bool(np.isfinite(gain).any())
    row_height = 0.38 if any("\n" in name for name in names) else 0.3
    figure = new_figure(9.6 if with_gains else 7.2, 1.5 + row_height * len(names), title)
    panels: list[Axes] = figure.subplots(1, 1 + with_gains, squeeze=False, sharey=True)[0].tolist()
    draw_scores(panels[0], steps, "miou")
    name_rows(panels[0], names)
    panels[0].set_xlabel("mIoU, %", fontsize=8)
    if with_gains:
        low, high = 100 * numbers(steps, "gain_low"), 100 * numbers(steps, "gain_high")
        interval_points(panels[1], np.arange(len(steps)), gain, low, high, RED)
        panels[1].axvline(0, color="black", linewidth=0.8)
        label_axis(panels[1], "gain, points of mIoU")
        panels[1].grid(visible=False, axis="y")
    return figure


def steps_chart(data: ReportData, progress: Progress) -> Chart | None:
    """Return the steps of an ablation or, when no two members differ in one setting, all runs ordered by score."""
    if len(data.frame) < 2:
        return None
    table, is_ablation = ladder(data, progress)
    caption = (
        "Each row changes one setting of the row above it, in the order of training. The gain is the difference to the"
        " row above on the same images."
        if is_ablation
        else "The runs are ordered by score, because no two members differ in exactly one setting other than the seed."
    )
    caption += " Lines are 95 % intervals over groups of images."
    if data.featured is not None:
        caption += " The gain of the ensemble is over its best member, with the wider interval of its verdict."
    title = "What did each step bring?" if is_ablation else "How do the runs compare?"
    alt = alt_list("mIoU", [f"{row['name']} {in_percent(row['miou'])}" for row in table.to_dict("records")])
    return Chart("steps", "Steps", caption, alt, partial(ladder_figure, table, title))

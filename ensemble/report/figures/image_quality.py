"""Figure of what an ensemble says about the quality of an image without its mask, against the truth."""

from __future__ import annotations

from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensemble.evaluation.confusion import Floats
from ensemble.evaluation.more_scores import image_miou
from ensemble.evaluation.quality import LEVEL, WHOLE, quality_sentence
from ensemble.report.figures.drawing import BLUE, RED, label_axis, new_figure
from ensemble.report.figures.single_runs import read_images
from ensemble.report.figures.svg import Chart
from ensemble.report.report_data import ReportData

MOST_POINTS = 1000  # evenly among the images, so that the page stays small


def quality_figure(found_n3: Floats, truth_n: Floats) -> Figure:
    """Draw the true mean IoU of images over the estimated one, with intervals that miss it in red.

    Args:
        found_n3: estimate and limits of each image, made out of fold; NaN where there is none.
        truth_n: mean IoU of each image; NaN where no pixel is labelled.
    """
    known = np.flatnonzero(np.isfinite(found_n3).all(1) & np.isfinite(truth_n))
    shown = known[:: max(1, -(-len(known) // MOST_POINTS))]
    (estimate, low, high), truth = 100 * found_n3[shown].T, 100 * truth_n[shown]
    figure = new_figure(6.4, 5.4, "Does an image score what was estimated without its mask?")
    axis: Axes = figure.subplots()
    axis.plot([0, 100], [0, 100], color="grey", linewidth=0.8)
    for name, colour, here in (
        ("interval holds", BLUE, (low <= truth) & (truth <= high)),
        ("interval misses", RED, (truth < low) | (high < truth)),
    ):
        axis.vlines(estimate[here], low[here], high[here], color=colour, linewidth=1, alpha=0.15)
        axis.scatter(estimate[here], truth[here], color=colour, s=10, alpha=0.7, label=f"{name}: {here.sum()} images")
    label_axis(axis, "estimated mean IoU of an image, %", "true mean IoU, %")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=7, frameon=False)
    return figure


def quality_chart(data: ReportData) -> Chart | None:
    """Return the figure of the featured ensemble; None if it cannot say anything or an earlier version made it."""
    ensemble = data.featured
    scores = None if ensemble is None else ensemble.scores.get("quality", {}).get(WHOLE)
    if ensemble is None or scores is None or scores["coverage"] is None:
        return None
    images = read_images(ensemble.path, data)
    if images is None or "quality" not in images.tables:
        return None
    said = quality_sentence(scores)
    caption = (
        f"{said[0].upper()}{said[1:]}. Each estimate is made without the group of its image, from probabilities and the"
        f" disagreement of the members. A line is an interval that should hold the true value with {LEVEL:.0%}."
    )
    draw = partial(quality_figure, images.tables["quality"][:, 0], image_miou(images.confusions_nkk))
    return Chart("quality", "Quality without a mask", caption, said, draw)

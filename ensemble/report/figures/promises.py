"""The figure of a promise, with its caption: how many pixels keep a class if the least certain ones are left open."""

from __future__ import annotations

from functools import partial

import numpy as np
from matplotlib.figure import Figure

from ensemble.combining.held_out import HeldOut
from ensemble.combining.promises import gather_evidence
from ensemble.core.errors import EnsError
from ensemble.core.formatting import counted, in_percent
from ensemble.core.progress import Progress, no_progress
from ensemble.evaluation.caveats import ENOUGH_GROUPS
from ensemble.evaluation.confusion import Floats
from ensemble.evaluation.promises import GroupCounts, error_by_share, shares_kept
from ensemble.report.figures.drawing import BLUE, ORANGE, SMALLEST_SHARE, label_axis, new_figure
from ensemble.report.figures.svg import Chart
from ensemble.report.report_data import ReportData

NAMED = (0.01, 0.02, 0.05, 0.1)  # promises in the words of the figure
LEVELS = 60


def abstaining_figure(right: GroupCounts, wrong: GroupCounts) -> Figure:
    """Draw the share of wrong pixels among those kept against their share: as found, and as promised for new groups.

    Args:
        right: confidence of the pixels that are right, by group.
        wrong: that of the pixels that are wrong.
    """
    figure = new_figure(6.4, 4.6, "Which errors remain if the least certain pixels are left open?")
    axis = figure.subplots()
    share, error = error_by_share(right, wrong)
    some = share > SMALLEST_SHARE
    axis.plot(100 * share[some], 100 * error[some], color=BLUE, label="found in the validation images")
    promised, kept = _promises(right, wrong, float(error[-1]))
    if promised.size:
        axis.plot(100 * kept, 100 * promised, color=ORANGE, linestyle="--", label="promised for new groups of images")
    axis.set_xlim(0, 102)
    axis.set_ylim(bottom=0)
    label_axis(axis, "pixels that keep a class, %", "wrong among them, %")
    axis.legend(fontsize=8, frameon=False, loc="upper left")  # to look for the best place is slow
    return figure


def _promises(right: GroupCounts, wrong: GroupCounts, error: float) -> tuple[Floats, Floats]:
    """Return promised errors up to the first that all pixels keep, and the share of the pixels kept with each."""
    promised = np.linspace(0, max(0.01, 2 * error), LEVELS + 1)[1:]
    kept = shares_kept(right, wrong, promised)
    shown = np.isfinite(kept) & (np.cumsum(kept == 1) <= 1)
    return promised[shown], kept[shown]


def abstaining_chart(data: ReportData, progress: Progress = no_progress) -> Chart | None:
    """Return the figure of the featured ensemble; None without one, or with a note if its stores cannot be read."""
    if data.featured is None:
        return None
    try:
        evidence = gather_evidence(HeldOut.of(data.featured), progress)
    except EnsError as error:
        data.add_note(f"The figures leave out what {data.featured.name} promises: {error}.")
        return None
    sides = evidence.right, evidence.wrong
    kept = shares_kept(*sides, np.array(NAMED))
    texts = [f"{in_percent(error, 0)} keeps {in_percent(share, 0)}" for error, share in zip(NAMED, kept, strict=True)]
    possible = [text for text, share in zip(texts, kept, strict=True) if np.isfinite(share)]
    groups = len({*evidence.right.groups, *evidence.wrong.groups})
    words = "no error of 10 % or less is promised"
    if possible:
        words = f"a promise of {', '.join(possible)} of the pixels"
    elif groups < ENOUGH_GROUPS:
        words += f", because {counted(groups, 'group')} of images are held out and a promise takes {ENOUGH_GROUPS}"
    caption = (
        "ens predict --max-error 0.05 leaves the least certain pixels open, so that on average at most 5 % of the"
        f" others are wrong in groups of images like those held out. Here {words}. The predictions are cross-fitted."
    )
    return Chart("abstaining", "Pixels left open", caption, words, partial(abstaining_figure, *sides))

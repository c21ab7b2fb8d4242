"""Every figure of the report as a function that returns a matplotlib ``Figure``, for notebooks.

Of the results table (``ensemble.results.load``): ``ladder_figure``, ``grid_figure`` (of its ``pivot``),
``classes_figure``. Of single runs:
``learning_figure``, ``confusion_figure``, ``calibration_figure``. Of an ensemble (``ensemble.explanation``):
``pairs_figure``, ``contributions_figure``, ``dropping_figure``, ``reliability_figure``, ``risk_figure``,
``uncertainty_figure``.
"""

from ensemble.report.explain import uncertainty_figure
from ensemble.report.explain_curves import reliability_figure, risk_figure
from ensemble.report.explain_members import contributions_figure, dropping_figure, pairs_figure
from ensemble.report.figures.runs import calibration_figure, confusion_figure, learning_figure
from ensemble.report.figures.scores import classes_figure, grid_figure, ladder_figure

__all__ = [
    "calibration_figure",
    "classes_figure",
    "confusion_figure",
    "contributions_figure",
    "dropping_figure",
    "grid_figure",
    "ladder_figure",
    "learning_figure",
    "pairs_figure",
    "reliability_figure",
    "risk_figure",
    "uncertainty_figure",
]

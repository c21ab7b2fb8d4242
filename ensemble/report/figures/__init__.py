"""All figures as functions that return a matplotlib ``Figure``, for the report and for notebooks.

===================  =====================================================================================
made from            functions
===================  =====================================================================================
the results table    ``ladder_figure``, ``classes_figure``, and ``grid_figure`` from ``ensemble.results.pivot``
held-out images      ``abstaining_figure``
single runs          ``learning_figure``, ``confusion_figure``, ``calibration_figure``, ``quality_figure``
``ensemble.explain`` ``pairs_figure``, ``contributions_figure``, ``dropping_figure``, ``reliability_figure``,
                     ``risk_figure``, ``uncertainty_figure``
images and masks     ``examples_figure``, ``suspects_figure``, ``picture_grid``
a tuning             ``history_figure``, ``importance_figure``, ``price_figure``
===================  =====================================================================================
"""

from ensemble.report.figures.examples import draw_examples, examples_figure
from ensemble.report.figures.explanation_curves import reliability_figure, risk_figure
from ensemble.report.figures.explanation_maps import uncertainty_figure
from ensemble.report.figures.explanation_members import contributions_figure, dropping_figure, pairs_figure
from ensemble.report.figures.image_quality import quality_figure
from ensemble.report.figures.picture_grid import picture_grid
from ensemble.report.figures.promises import abstaining_figure
from ensemble.report.figures.single_runs import calibration_figure, confusion_figure, learning_figure
from ensemble.report.figures.steps import ladder_figure
from ensemble.report.figures.suspects import suspects_figure
from ensemble.report.figures.table_scores import classes_figure, grid_figure
from ensemble.report.figures.tuning_trials import history_figure, importance_figure, price_figure

__all__ = [
    "abstaining_figure",
    "calibration_figure",
    "classes_figure",
    "confusion_figure",
    "contributions_figure",
    "draw_examples",
    "dropping_figure",
    "examples_figure",
    "grid_figure",
    "history_figure",
    "importance_figure",
    "ladder_figure",
    "learning_figure",
    "pairs_figure",
    "picture_grid",
    "price_figure",
    "quality_figure",
    "reliability_figure",
    "risk_figure",
    "suspects_figure",
    "uncertainty_figure",
]

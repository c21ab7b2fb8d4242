"""Scores of class maps and probabilities, with their intervals, in plain NumPy; void pixels never count.

Confusion matrices, log-loss sums, reliability tables and boundary counts are kept per image and simply add up, so that
every score of a data set, of a fold and of a bootstrap resample is computed from the same small tables.
"""

from ensemble.evaluation.bootstrap import Bootstrap, sum_by_group
from ensemble.evaluation.boundary import boundary_counts, boundary_f1
from ensemble.evaluation.calibration import (
    brier_sums,
    expected_calibration_error,
    log_loss_sums,
    probability_tables,
    reliability,
)
from ensemble.evaluation.calibration_interval import calibration_error, calibration_error_interval
from ensemble.evaluation.caveats import support_notes
from ensemble.evaluation.confusion import (
    class_counts,
    confusion_per_image,
    dice_per_class,
    iou_per_class,
    mean_iou,
    pixel_accuracy,
)
from ensemble.evaluation.intervals import Interval, interval
from ensemble.evaluation.keras_iou import keras_mean_iou
from ensemble.evaluation.paired import Comparison, Draws, PairedDifference, SampledScores
from ensemble.evaluation.proportion_intervals import class_intervals, share_interval
from ensemble.evaluation.void import VOID, labelled

__all__ = [
    "VOID",
    "Bootstrap",
    "Comparison",
    "Draws",
    "Interval",
    "PairedDifference",
    "SampledScores",
    "boundary_counts",
    "boundary_f1",
    "brier_sums",
    "calibration_error",
    "calibration_error_interval",
    "class_counts",
    "class_intervals",
    "confusion_per_image",
    "dice_per_class",
    "expected_calibration_error",
    "interval",
    "iou_per_class",
    "keras_mean_iou",
    "labelled",
    "log_loss_sums",
    "mean_iou",
    "pixel_accuracy",
    "probability_tables",
    "reliability",
    "share_interval",
    "sum_by_group",
    "support_notes",
]

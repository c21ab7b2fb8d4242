"""How sure the kept gain of a cascade is: on resamples of groups of images, the thresholds are fitted again, too."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.stopping import StoppedEarly, fit_thresholds, kept_gain, stages_of
from ensemble.evaluation.bootstrap import Bootstrap
from ensemble.evaluation.intervals import Interval, student

RESAMPLES = 100  # the deviation of so many is known within 7 %


def kept_interval(stopped: StoppedEarly, groups: Sequence[str], level: float = 0.95) -> Interval:
    r"""Return the interval of the share of the gain that a cascade keeps on images of new groups.

    The images that the share is measured on also decide when images stop. So an interval with fixed thresholds is too
    narrow: it missed the truth in a fifth of planted draws. Here each resample :math:`b` of the groups gets its own
    thresholds :math:`\theta_b`. With :math:`K(\theta, P)` as the share that is kept on images :math:`P`, the
    difference :math:`K(\theta_b, P_b) - K(\theta_b, P)` of the resample to all images varies as that of the images at
    hand to new ones does. The cross-fitted share also depends on the thresholds of the folds, as :math:`K(\theta_b, P)`
    does. The root of the sum of both variances, times Student's t at the effective number of groups, is the half width.

    Args:
        stopped: what the cascade does to each image.
        groups: group of each image, at least two different ones.
        level: probability between 0 and 1.

    Returns:
        The limits around the cross-fitted share. They may lie above 1: a cascade may have a smaller loss than all
        members together.

    Reference:
        Efron, Estimating the error rate of a prediction rule: improvement on cross-validation, 1983 (the difference);
        measured in ``experiments/benchmarks/cheaper.py``.
    """
    gain_n, kept_n = stopped.first_n - stopped.full_n, stopped.first_n - stopped.stopped_n
    draws = Bootstrap.draw(groups, resamples=RESAMPLES)
    rows = (np.repeat(np.arange(len(gain_n)), count_g[draws.codes_n]) for count_g in draws.counts_bg)
    drawn_b, all_b = np.array([_kept(stopped, each) for each in rows]).T
    size = len(draws.names)
    times = student(draws.leave_one_out.ratio(kept_n, gain_n), level) * math.sqrt(size / (size - 1))
    half = times * math.hypot(np.nanstd(drawn_b - all_b), np.nanstd(all_b))
    share = float(kept_n.sum() / gain_n.sum())
    return Interval(share - half, share + half)


def _kept(stopped: StoppedEarly, rows: NDArray[np.intp]) -> tuple[float, float]:
    """Return which shares the thresholds of a resample keep there and on all images; NaN if nothing is gained there."""
    losses_kn, unsure_kn = stopped.losses_kn, stopped.unsure_kn
    drawn_kn = losses_kn[:, rows]
    if not drawn_kn[0].sum() > drawn_kn[-1].sum():
        return math.nan, math.nan
    stage_n = stages_of(unsure_kn, fit_thresholds(drawn_kn, unsure_kn[:, rows], stopped.keep))
    return float(kept_gain(drawn_kn, stage_n[rows])), float(kept_gain(losses_kn, stage_n))

"""Least squares over a grid of runs that are all scored on the same groups of images.

Runs and groups are crossed. An effect is uncertain for two reasons: it would differ on other images, and also with
networks that are trained again. An interval that covers other images only mistakes noise between seeds for an
effect; one that covers other runs only mistakes a peculiarity of these images for an effect. Here both variances are
added, and what both contain (noise of one run on one group) is subtracted once. This is two-way clustering, with the
homoscedastic estimate for the runs, because a sandwich estimate over a handful of runs is far too small. Coverage on
planted truths, next to that of the alternatives: ``experiments/benchmarks/comparison_rates.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from ensemble.comparison.factor_levels import Grid
from ensemble.evaluation.confusion import Floats
from ensemble.evaluation.intervals import effective_freedom
from ensemble.evaluation.paired import Comparison

ROUNDING = 1e-12  # of scores between 0 and 1


@dataclass(frozen=True, eq=False)
class Design:
    """The model ``score_r = level + block + noise`` as matrices.

    Attributes:
        kept_r: whether each run takes part.
        columns_rp: the model: one column per level except the baseline, and one per block.
        weights_lr: the least-squares effect of each level except the baseline, as weights of the runs.
        residual_rr: matrix that maps scores to their residuals.
        spare: residual degrees of freedom.
    """

    kept_r: NDArray[np.bool_]
    columns_rp: Floats
    weights_lr: Floats
    residual_rr: Floats
    spare: int

    @classmethod
    def of(cls, grid: Grid) -> Design:
        """Build the design of a grid. Blocks join all its levels, so the columns are independent."""
        kept_r = np.array([level is not None for level in grid.level_r])
        level_r = np.array([level or "" for level in grid.level_r])[kept_r]
        block_r = np.array(grid.block_r)[kept_r]
        columns = [level_r == level for level in grid.levels[1:]] + [block_r == block for block in np.unique(block_r)]
        columns_rp = np.stack(columns, axis=1).astype(np.float64)
        inverse_pr: Floats = np.linalg.pinv(columns_rp).astype(np.float64)
        residual_rr = np.eye(len(level_r)) - columns_rp @ inverse_pr
        return cls(
            kept_r, columns_rp, inverse_pr[: len(grid.levels) - 1], residual_rr, len(level_r) - columns_rp.shape[1]
        )

    def noise_c(self, whole_rc: Floats) -> Floats:
        """Return the residual variance of each score, ``|residuals|^2 / spare``; NaN without spare runs."""
        if not self.spare:
            return np.full(whole_rc.shape[1], np.nan)
        return ((self.residual_rr @ whole_rc[self.kept_r]) ** 2).sum(0) / self.spare

    def estimate(self, whole_rc: Floats, left_out_grc: Floats) -> Estimates:
        """Estimate the effects and the parts of their variance.

        With pseudo-values ``y_rg = g score_r - (g - 1) score_r(without g)``, effects ``w y_g`` of each group, and
        residual mean squares of the runs' means (``s2``) and of what is left of ``y_rg`` without them (``m2``)::

            by_groups = sum_g (w y_g - mean)^2 / (g (g - 1))      by_runs = |w|^2 s2      by_both = |w|^2 m2 / g

        Args:
            whole_rc: scores (runs, scores) on all images.
            left_out_grc: scores (groups, runs, scores) with each group left out.

        Reference:
            Cameron, Gelbach and Miller, Robust Inference with Multiway Clustering, 2011, equation 2.7; Efron and
            Stein, The Jackknife Estimate of Variance, 1981.
        """
        weights_lr, kept_grc = self.weights_lr, left_out_grc[:, self.kept_r]
        groups = len(kept_grc)
        left_out_glc = np.einsum("lr,grc->glc", weights_lr, kept_grc)
        by_groups_lc = left_out_glc.var(0) * (groups - 1)
        freedom_lc = np.array(
            [[effective_freedom(one_g) for one_g in each_cg] for each_cg in left_out_glc.transpose(1, 2, 0)]
        )
        length_l1 = (weights_lr**2).sum(1)[:, None]
        by_runs_lc = by_both_lc = np.zeros_like(by_groups_lc)
        if self.spare:
            by_runs_lc = length_l1 * self.noise_c(whole_rc)
            deviation_grc = (groups - 1) * (kept_grc - kept_grc.mean(0))
            left_grc = np.einsum("sr,grc->gsc", self.residual_rr, deviation_grc)
            by_both_lc = length_l1 * (left_grc**2).sum((0, 1)) / ((groups - 1) * self.spare * groups)
        return Estimates(
            effect_lc=_exact(weights_lr @ whole_rc[self.kept_r], ROUNDING),
            by_groups_lc=_exact(by_groups_lc, ROUNDING**2),
            by_runs_lc=_exact(by_runs_lc, ROUNDING**2),
            by_both_lc=_exact(by_both_lc, ROUNDING**2),
            group_freedom_lc=freedom_lc,
            spare=self.spare,
        )


def _exact(values: Floats, rounding: float) -> Floats:
    """Replace values that are only rounding by zero, so that nothing is divided by rounding."""
    return np.where(np.abs(values) < rounding, 0.0, values)


@dataclass(frozen=True, eq=False)
class Estimates:
    """Effects (levels, scores), their variances by source, and the Student's t intervals that follow from them.

    The variance is ``by_groups + by_runs - by_both``, but not less than either of the first two; its degrees of
    freedom are Satterthwaite's, with the effective freedom of the groups (see ``effective_freedom``).
    """

    effect_lc: Floats
    by_groups_lc: Floats
    by_runs_lc: Floats
    by_both_lc: Floats
    group_freedom_lc: Floats
    spare: int

    @property
    def variance_lc(self) -> Floats:
        """Variance of the effects over other images and other trainings."""
        either_lc = np.maximum(self.by_groups_lc, self.by_runs_lc)
        return np.maximum(either_lc, self.by_groups_lc + self.by_runs_lc - self.by_both_lc)

    @property
    def freedom_lc(self) -> Floats:
        """Degrees of freedom, ``v^2 / (by_groups^2 / freedom + by_runs^2 / spare)``, at least 1."""
        parts_lc = self.by_groups_lc**2 / self.group_freedom_lc + self.by_runs_lc**2 / max(self.spare, 1)
        freedom_lc = np.divide(self.variance_lc**2, parts_lc, out=self.group_freedom_lc.copy(), where=parts_lc > 0)
        return np.maximum(freedom_lc, 1.0)

    @property
    def t_lc(self) -> Floats:
        """Effects over their standard errors; 0 where both are 0."""
        error_lc = np.sqrt(self.variance_lc)
        never_lc = np.where(self.effect_lc == 0, 0.0, np.copysign(np.inf, self.effect_lc))
        return np.divide(self.effect_lc, error_lc, out=never_lc, where=~(error_lc == 0))

    @property
    def p_lc(self) -> Floats:
        """Two-sided p-values."""
        return 2 * stdtr(self.freedom_lc, -np.abs(self.t_lc))

    def half_width_lc(self, level: float = 0.95) -> Floats:
        """Return half the width of the intervals."""
        return stdtrit(self.freedom_lc, np.full_like(self.t_lc, (1 + level) / 2)) * np.sqrt(self.variance_lc)

    def comparison(self, row: int, column: int) -> Comparison:
        """Return one effect with its interval, and the probability that it is positive.

        Scores lie in 0..1, so their differences in -1..1: the interval ends there.
        """
        effect, half = float(self.effect_lc[row, column]), float(self.half_width_lc()[row, column])
        share = float(stdtr(self.freedom_lc[row, column], self.t_lc[row, column]))
        return Comparison(effect, max(effect - half, -1.0), min(effect + half, 1.0), share)

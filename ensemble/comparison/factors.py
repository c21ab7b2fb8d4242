"""Estimate the effect of one factor, averaged over everything else that the runs differ in."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ensemble.comparison.factor_levels import Grid, make_grid
from ensemble.comparison.inference import holm
from ensemble.comparison.linear_model import Design
from ensemble.comparison.outcomes import Effect, FactorEffect
from ensemble.comparison.runs import Shared, line_up, open_runs
from ensemble.comparison.summary import caveats, effects_summary, grid_caveats
from ensemble.comparison.trainings import one_of_each_training
from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.evaluation.caveats import few_holders, too_few_groups


def factor_effect(
    paths: Sequence[str | Path], factor: str, *, baseline: str | None = None, progress: Progress = no_progress
) -> FactorEffect:
    """Estimate the effect of one factor on mIoU and IoU, averaged over the other settings, from any grid of members.

    Runs are compared within blocks, in which everything except the factor and the seed is the same:
    ``score = level + block + noise``, by least squares, so that a grid need not be balanced or complete. Settings that
    cannot be separated from the factor are reported, never averaged over. Of several members
    that differ only in ``tta``, one takes part; if ``tta`` is the factor, each training is a block.

    Args:
        paths: directories of members; imported members are left out because their settings are not known.
        factor: ``architecture``, ``encoder``, ``loss``, ``augmentation``, ``sampler``, ``optimiser`` (with its
            learning rate), ``seed``, ``background``, or the name of any other setting, such as ``filters``.
        baseline: level that the others are compared with; by default the one with most runs.
        progress: callback that receives the progress.

    Raises:
        EnsError: fewer than two members, ensembles, different data or splits, an unknown factor, only one level, or
            no level that can be separated from other settings.

    Reference:
        Cameron, Gelbach and Miller, Robust Inference with Multiway Clustering, 2011; Satterthwaite, An Approximate
        Distribution of Estimates of Variance Components, 1946.
    """
    opened = open_runs(paths, progress)
    runs = [run for run in opened if run.settings is None or not run.settings.trained_elsewhere]
    if ensembles := [run.name for run in runs if run.settings is None]:
        raise EnsError(
            f"expected members for the effect of {factor}, got the ensemble {ensembles[0]}; name only members"
        )
    if len(runs) < 2:
        raise EnsError(f"expected at least two trained members for the effect of {factor}, got {len(runs)}; train more")
    shared, imported = line_up(runs), len(opened) - len(runs)
    if repeated := len(runs) - len(runs := one_of_each_training(runs, factor)):
        shared = line_up(runs)
    grid = make_grid([run.settings for run in runs if run.settings is not None], factor, baseline)
    design = Design.of(grid)
    effects = _effects(grid, design, shared)
    noise = math.sqrt(float(design.noise_c(shared.whole_rc)[0])) if design.spare else math.nan
    notes = (*caveats(shared), *grid_caveats(grid, design.spare, imported, repeated))
    return FactorEffect(grid, effects, design.spare, noise, notes, effects_summary(effects, shared))


def _effects(grid: Grid, design: Design, shared: Shared) -> tuple[Effect, ...]:
    """Return the effects with intervals and p-values, corrected for levels (mIoU) or levels times classes (classes)."""
    estimates = design.estimate(shared.whole_rc, shared.left_out_grc())
    families = (estimates.p_lc[:, :1], estimates.p_lc[:, 1:])
    p_holm_lc = np.concatenate([np.reshape(holm(p_lc.ravel().tolist()), p_lc.shape) for p_lc in families], axis=1)
    counts = Counter(grid.level_r)
    rare_c = [False, *few_holders(shared.confusions_nrkp[:, 0], shared.groups), False]
    effects = (
        Effect(
            level,
            grid.levels[0],
            score,
            replace(estimates.comparison(row, column), few_groups=rare_c[column]),
            float(estimates.freedom_lc[row, column]),
            float(estimates.p_lc[row, column]),
            float(p_holm_lc[row, column]),
            counts[level],
        )
        for row, level in enumerate(grid.levels[1:])
        for column, score in enumerate(shared.columns)
    )
    few = too_few_groups(len(set(shared.groups)))
    return tuple(map(_without_proof, effects) if few else effects)


def _without_proof(effect: Effect) -> Effect:
    """Return the effect without its interval and p-values."""
    return replace(effect, estimate=replace(effect.estimate, low=math.nan, high=math.nan), p=math.nan, p_holm=math.nan)

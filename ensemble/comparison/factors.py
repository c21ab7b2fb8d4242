"""The effect of one factor, averaged over everything else that the runs differ in."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ensemble.comparison.factor_levels import Grid, make_grid
from ensemble.comparison.inference import LEVEL, holm
from ensemble.comparison.linear_model import Design
from ensemble.comparison.pairs import tabulate
from ensemble.comparison.runs import MIOU, Shared, line_up, open_runs
from ensemble.comparison.summary import notes_on, notes_on_grid, tell_effects
from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.core.registry import IMPORTED
from ensemble.evaluation.paired import Comparison

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Effect:
    """What a level of a factor adds to the score of the baseline.

    Attributes:
        level: the level.
        baseline: the level it is compared with.
        score: ``mIoU`` or the name of a class.
        estimate: mean difference as a share of 1, with its 95 % interval.
        freedom: degrees of freedom of the interval.
        p: two-sided p-value; below 0.05 exactly where the interval leaves zero out.
        p_holm: corrected for the number of levels; for classes, of levels times classes.
        runs: number of runs with this level.
    """

    level: str
    baseline: str
    score: str
    estimate: Comparison
    freedom: float
    p: float
    p_holm: float
    runs: int

    @property
    def significant(self) -> bool:
        """Whether it stands at 5 % after the correction."""
        return self.p_holm < LEVEL


@dataclass(frozen=True, eq=False)
class FactorEffect:
    """Effects of all levels of a factor.

    Attributes:
        grid: which runs were compared.
        effects: one for each level but the baseline and each score.
        spare: degrees of freedom left for the noise of training again; with 0 the intervals know other images only.
        noise: standard deviation of the mIoU of a run about its level and block; NaN where ``spare`` is 0.
        notes: what makes the effects weaker than they look.
        sentence: the outcome.
    """

    grid: Grid
    effects: tuple[Effect, ...]
    spare: int
    noise: float
    notes: tuple[str, ...]
    sentence: str

    def of(self, score: str = MIOU) -> tuple[Effect, ...]:
        """The effects on one score."""
        return tuple(effect for effect in self.effects if effect.score == score)

    def table(self) -> pd.DataFrame:
        """A row per level and score: ``level, baseline, score, difference, low, high, probability_of_improvement,
        freedom, p, p_holm, runs``; differences as shares of 1.
        """
        return tabulate(self.effects)


def factor_effect(
    paths: Sequence[str | Path], factor: str, *, baseline: str | None = None, progress: Progress = no_progress
) -> FactorEffect:
    """The effect of one factor on mIoU and IoU, averaged over the other settings, from any grid of members.

    Runs are compared within blocks, in which everything but the factor and the seed is the same:
    ``score = level + block + noise``, by least squares, so that a grid need not be balanced or complete. Settings that
    cannot be separated from the factor are named, never averaged over.

    Args:
        paths: directories of members; imported ones, whose settings are not known, are left out.
        factor: ``architecture``, ``encoder``, ``loss``, ``augmentation``, ``sampler``, ``seed``, ``background``, or
            the name of any other setting, such as ``filters``.
        baseline: level that the others are compared with; the one with most runs where left out.
        progress: callback that receives the progress.

    Raises:
        EnsError: fewer than two members, ensembles, different data or splits, an unknown factor, one level only, or
            no level that can be separated from other settings.

    Reference:
        Cameron, Gelbach and Miller, Robust Inference with Multiway Clustering, 2011; Satterthwaite, An Approximate
        Distribution of Estimates of Variance Components, 1946.
    """
    opened = open_runs(paths, progress)
    runs = [run for run in opened if run.settings is None or run.settings.architecture.origin != IMPORTED]
    if whole := [run.name for run in runs if run.settings is None]:
        raise EnsError(f"expected members for the effect of {factor}, got the ensemble {whole[0]}; name members only")
    if len(runs) < 2:
        raise EnsError(f"expected at least two trained members for the effect of {factor}, got {len(runs)}; train more")
    shared = line_up(runs)
    grid = make_grid([run.settings for run in runs if run.settings is not None], factor, baseline)
    design = Design.of(grid)
    effects = _effects(grid, design, shared)
    noise = math.sqrt(float(design.noise_c(shared.whole_rc)[0])) if design.spare else math.nan
    imported = len(opened) - len(runs)
    notes = (*notes_on(shared), *notes_on_grid(grid, design.spare, imported))
    return FactorEffect(grid, effects, design.spare, noise, notes, tell_effects(effects))


def _effects(grid: Grid, design: Design, shared: Shared) -> tuple[Effect, ...]:
    """Effects with intervals, p-values and their correction: levels for mIoU, levels times classes for classes."""
    found = design.estimate(shared.whole_rc, shared.left_out_grc())
    families = (slice(0, 1), slice(1, None))
    p_holm_lc = np.concatenate(
        [np.reshape(holm(found.p_lc[:, part].ravel().tolist()), found.p_lc[:, part].shape) for part in families], axis=1
    )
    counts = Counter(grid.level_r)
    return tuple(
        Effect(
            level,
            grid.levels[0],
            score,
            found.comparison(row, column),
            float(found.freedom_lc[row, column]),
            float(found.p_lc[row, column]),
            float(p_holm_lc[row, column]),
            counts[level],
        )
        for row, level in enumerate(grid.levels[1:])
        for column, score in enumerate(shared.columns)
    )

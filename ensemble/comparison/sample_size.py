"""Estimate how many image groups, or how many seeds, are needed to see a difference of a given size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from ensemble.comparison.factor_levels import replicates
from ensemble.comparison.inference import spread_of_groups
from ensemble.comparison.outcomes import PairPower, Power, SeedPower
from ensemble.comparison.runs import Run, Shared, line_up, open_runs
from ensemble.comparison.summary import caveats, power_summary
from ensemble.comparison.t_tests import needed_groups, needed_seeds, power_of_t, safe, visible_difference
from ensemble.comparison.trainings import one_of_each_training
from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.evaluation.paired import RESAMPLES


def power(
    paths: Sequence[str | Path],
    difference: float,
    *,
    others: Sequence[str | Path] = (),
    resamples: int = RESAMPLES,
    progress: Progress = no_progress,
) -> Power:
    """Estimate the groups of images and the seeds that show a difference in mIoU with 80 % power at 5 %, two-sided.

    For groups, the difference of two trained networks is tested by a paired t test over groups. Its spread is that of
    the group bootstrap, and its effective degrees of freedom grow with the groups. For seeds, the difference of two
    recipes on the images at hand is tested by a t test of two samples. Its spread is the one between runs that differ
    in the seed only.

    Args:
        paths: directories of two or more members or ensembles.
        difference: difference in mIoU as a share of 1; half a point is 0.005.
        others: more members of the same data and split, used only for the variance between seeds.
        resamples: bootstrap resamples.
        progress: callback that receives the progress.

    Raises:
        EnsError: the difference is not positive, fewer than two runs, runs of different data or splits, images of only
            one group, or runs whose predictions are equal.

    Reference:
        Cohen, Statistical Power Analysis for the Behavioral Sciences, 2nd edition, 1988, chapter 2.
    """
    if not 0 < difference < 1:
        raise EnsError(
            f"expected a difference between 0 and 100 points of mIoU, got {100 * difference:g}; half a point is 0.5"
        )
    if len(paths) < 2:
        raise EnsError(f"expected at least two runs to estimate the variance, got {len(paths)}; name another one")
    shared = line_up(open_runs(paths, progress))
    pairs = _pairs(shared, difference, resamples, progress)
    seeds = _seeds([*shared.runs, *open_runs(others, progress)], difference)
    groups, images = len(set(shared.groups)), len(shared.groups)
    sentence = power_summary(difference, pairs, seeds, groups)
    return Power(difference, len(shared.runs), groups, images, pairs, seeds, caveats(shared), sentence)


def _pairs(shared: Shared, difference: float, resamples: int, progress: Progress) -> tuple[PairPower, ...]:
    scores_r = shared.scores(resamples, progress)
    groups, images = len(set(shared.groups)), len(shared.groups)
    variable: list[tuple[float, int, int]] = []
    for a, b in combinations(range(len(shared.runs)), 2):
        spread = spread_of_groups(scores_r[a].minus(scores_r[b]))
        if spread > 0:
            variable.append((spread, a, b))
    if not variable:
        raise EnsError("these runs predict the same on all images, so their difference has no variance; compare others")
    variable.sort()
    shown = variable if len(variable) <= 3 else [variable[0], variable[len(variable) // 2], variable[-1]]
    rows: list[PairPower] = []
    for spread, a, b in shown:
        freedom = scores_r[a].minus(scores_r[b]).freedom
        needed = needed_groups(difference, spread, groups, freedom)
        wanted = needed_groups(difference, safe(spread, freedom), groups, freedom)
        rows.append(
            PairPower(
                shared.names[a],
                shared.names[b],
                spread,
                power_of_t(difference / spread * math.sqrt(groups), freedom),
                visible_difference(spread, groups, freedom),
                needed,
                wanted,
                needed * images / groups,
                wanted * images / groups,
            )
        )
    return tuple(rows)


def _seeds(runs: Sequence[Run], difference: float) -> SeedPower | None:
    """Estimate the variance between runs that differ in the seed only; each run counts once."""
    unique = list({run.path.resolve(): run for run in runs if run.settings is not None}.values())
    known = [run for run in one_of_each_training(unique) if run.settings and not run.settings.trained_elsewhere]
    if len(known) < 2:
        return None
    block_r = np.array(replicates([run.settings for run in known if run.settings is not None]))
    miou_r = line_up(known).whole_rc[:, 0]
    centred_r = miou_r - (np.bincount(block_r, miou_r) / np.bincount(block_r))[block_r]
    freedom = len(known) - len(np.unique(block_r))
    if not freedom or not (centred_r**2).sum() > 0:
        return None
    noise = math.sqrt(float((centred_r**2).sum()) / freedom)
    needed, wanted = (needed_seeds(difference, each) for each in (noise, safe(noise, freedom)))
    return SeedPower(noise, freedom, needed, wanted)

"""How many image groups, or how many seeds, it takes to see a difference of a given size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ensemble.comparison.factor_levels import replicates
from ensemble.comparison.inference import spread_of_groups
from ensemble.comparison.runs import Run, Shared, line_up, open_runs
from ensemble.comparison.summary import notes_on, tell_power
from ensemble.comparison.t_tests import needed_groups, needed_seeds, power_of_t, safe, visible_difference
from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.core.registry import IMPORTED
from ensemble.evaluation.intervals import effective_freedom
from ensemble.evaluation.paired import RESAMPLES

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class PairPower:
    """What the images at hand can show of a pair, and how many it would take.

    Attributes:
        a: first run.
        b: second run.
        spread: standard deviation of their difference in mIoU from group to group.
        power: probability that a difference of the size asked for is seen on the images at hand.
        visible: difference that is seen on them with 80 % probability.
        groups: groups needed; infinite beyond ten million.
        safe_groups: the same where the spread is not the estimated one but a safe one, see
            :func:`ensemble.comparison.t_tests.safe`.
        images: images in ``groups``, at as many per group as at hand.
        safe_images: images in ``safe_groups``.
    """

    a: str
    b: str
    spread: float
    power: float
    visible: float
    groups: float
    safe_groups: float
    images: float
    safe_images: float


@dataclass(frozen=True)
class SeedPower:
    """How many trainings of each of two recipes it would take, on the images at hand.

    Attributes:
        noise: standard deviation of the mIoU from seed to seed, pooled over recipes.
        freedom: its degrees of freedom.
        seeds: seeds needed of each recipe.
        safe_seeds: the same with a safe noise.
    """

    noise: float
    freedom: int
    seeds: float
    safe_seeds: float


@dataclass(frozen=True, eq=False)
class Power:
    """Answer to "how many would it take".

    Attributes:
        difference: asked for, as a share of 1.
        runs: number of runs the variance was taken from.
        groups: groups of images at hand.
        images: images at hand.
        pairs: of up to three pairs each; of more the steadiest, the median and the most variable pair.
        seeds: None where no two runs differ in the seed alone.
        notes: what makes the answer weaker than it looks.
        sentence: the answer.
    """

    difference: float
    runs: int
    groups: int
    images: int
    pairs: tuple[PairPower, ...]
    seeds: SeedPower | None
    notes: tuple[str, ...]
    sentence: str

    def table(self) -> pd.DataFrame:
        """A row per pair with the fields of :class:`PairPower` as columns."""
        import pandas as pd  # noqa: PLC0415  (half a second that numbers alone do not need)

        return pd.DataFrame([asdict(pair) for pair in self.pairs])


def power(
    paths: Sequence[str | Path],
    difference: float,
    *,
    others: Sequence[str | Path] = (),
    resamples: int = RESAMPLES,
    progress: Progress = no_progress,
) -> Power:
    """Groups of images and seeds needed to see a difference in mIoU with 80 % power at 5 %, two-sided.

    Groups: the difference of two trained networks as a paired t test over groups, whose spread is that of the group
    bootstrap and whose effective degrees of freedom grow with the groups. Seeds: the difference of two recipes on the
    images at hand as a t test of two samples, whose spread is the one between runs that differ in the seed alone.

    Args:
        paths: directories of two or more members or ensembles.
        difference: difference in mIoU as a share of 1; half a point is 0.005.
        others: more members of the same data and split, for the variance between seeds only.
        resamples: bootstrap resamples.
        progress: callback that receives the progress.

    Raises:
        EnsError: no positive difference, fewer than two runs, runs of different data or splits, images of one group
            only, or runs that decide alike.

    Reference:
        Cohen, Statistical Power Analysis for the Behavioral Sciences, 2nd edition, 1988, chapter 2.
    """
    if not 0 < difference < 1:
        raise EnsError(
            f"expected a difference between 0 and 100 points of mIoU, got {100 * difference:g}; half a point is 0.5"
        )
    if len(paths) < 2:
        raise EnsError(f"expected at least two runs to take the variance from, got {len(paths)}; name another one")
    shared = line_up(open_runs(paths, progress))
    pairs = _pairs(shared, difference, resamples, progress)
    seeds = _seeds([*shared.runs, *open_runs(others, progress)], difference)
    groups, images = len(set(shared.groups)), len(shared.groups)
    sentence = tell_power(difference, pairs, seeds, groups)
    return Power(difference, len(shared.runs), groups, images, pairs, seeds, notes_on(shared), sentence)


def _pairs(shared: Shared, difference: float, resamples: int, progress: Progress) -> tuple[PairPower, ...]:
    scores_r = shared.scores(resamples, progress)
    groups, images = len(set(shared.groups)), len(shared.groups)
    variable: list[tuple[float, int, int]] = []
    for a, b in combinations(range(len(shared.runs)), 2):
        spread = spread_of_groups(scores_r[a].minus(scores_r[b]))
        if spread > 0:
            variable.append((spread, a, b))
    if not variable:
        raise EnsError("these runs decide alike on all images, so their difference has no variance; compare others")
    variable.sort()
    shown = variable if len(variable) <= 3 else [variable[0], variable[len(variable) // 2], variable[-1]]
    rows: list[PairPower] = []
    for spread, a, b in shown:
        freedom = effective_freedom(scores_r[a].minus(scores_r[b]).left_out_g)
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
    """Variance between runs that differ in the seed alone; each run counts once."""
    unique = list({run.path.resolve(): run for run in runs if run.settings is not None}.values())
    known = [run for run in unique if run.settings is not None and run.settings.architecture.origin != IMPORTED]
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

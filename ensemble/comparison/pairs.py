"""Compare every pair of runs on the same resamples of image groups, corrected for the number of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from ensemble.comparison.inference import effect_size, holm
from ensemble.comparison.outcomes import Comparisons, Difference
from ensemble.comparison.runs import line_up, open_runs
from ensemble.comparison.summary import caveats, summarise
from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.evaluation.paired import RESAMPLES, SampledScores


def compare_runs(
    paths: Sequence[str | Path], *, resamples: int = RESAMPLES, progress: Progress = no_progress
) -> Comparisons:
    """Compare every pair of members and ensembles on the images they share, in mIoU and per class.

    F1 of the objects is compared, too, if all runs counted them: are the same rocks found?

    All runs are scored on the same resamples of image groups, which makes the differences paired. Intervals and
    p-values hold for other images of the kind, with the networks as they were trained. For the change that training
    again with another seed makes, use :func:`ensemble.comparison.factor_effect`.

    Args:
        paths: directories of two or more members or ensembles.
        resamples: bootstrap resamples.
        progress: callback that receives the progress.

    Raises:
        EnsError: fewer than two runs, runs of different data or splits (both are named), or images of only one group.

    Reference:
        Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979.
    """
    if len(paths) < 2:
        raise EnsError(f"expected at least two members or ensembles to compare, got {len(paths)}; name another one")
    shared = line_up(open_runs(paths, progress))
    differences = judge_pairs(shared.names, shared.columns, shared.scores(resamples, progress), progress)
    objects = judge_pairs(shared.names, shared.object_columns, shared.object_scores(resamples), progress)
    return Comparisons(shared, differences, caveats(shared), summarise(shared, differences), objects)


def judge_pairs(
    names: Sequence[str],
    columns: Sequence[str],
    scores_r: Sequence[SampledScores],
    progress: Progress = no_progress,
) -> tuple[Difference, ...]:
    """Return the difference of every pair in every score.

    p-values of the first score are corrected for the number of pairs. Those of the other scores, which are looked at
    together, are corrected for the number of pairs times scores. A score that does not exist does not count.

    Args:
        names: names of the runs r.
        columns: names of the scores: mIoU, then classes.
        scores_r: scores of the runs on the same draws, in the order of ``columns``.
        progress: callback that receives the progress.
    """
    pairs, differences = list(combinations(range(len(scores_r)), 2)), list[Difference]()
    for count, (a, b) in enumerate(pairs, 1):
        for c, column in enumerate(columns):
            difference = scores_r[a].minus(scores_r[b], c)
            estimate, p = difference.comparison(), difference.p_value()
            differences.append(Difference(names[a], names[b], column, estimate, effect_size(difference), p, p))
        progress("comparing", count, len(pairs))
    corrected: dict[tuple[str, str, str], float] = {}
    for family in (columns[:1], columns[1:]):
        of_family = [one for one in differences if one.score in family]
        for one, p_holm in zip(of_family, holm([one.p for one in of_family]), strict=True):
            corrected[one.a, one.b, one.score] = p_holm
    return tuple(replace(one, p_holm=corrected[one.a, one.b, one.score]) for one in differences)

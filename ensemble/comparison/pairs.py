"""Every pair of runs, compared on the same resamples of image groups and corrected for how many pairs there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.comparison.inference import LEVEL, compare_with_p, effect_size, holm
from ensemble.comparison.runs import MIOU, Shared, line_up, open_runs
from ensemble.comparison.summary import notes_on, sum_up
from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.evaluation.paired import RESAMPLES, Comparison, SampledScores

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Difference:
    """Run a minus run b in one score.

    Attributes:
        a: first run.
        b: second run.
        score: ``mIoU`` or the name of a class.
        estimate: the difference as a share of 1, its 95 % interval and the probability of improvement.
        effect_size: see :func:`ensemble.comparison.inference.effect_size`.
        p: see :func:`ensemble.comparison.inference.compare_with_p`.
        p_holm: ``p`` corrected for the number of pairs; for classes, of pairs times classes.
    """

    a: str
    b: str
    score: str
    estimate: Comparison
    effect_size: float
    p: float
    p_holm: float

    @property
    def significant(self) -> bool:
        """Whether it stands at 5 % after the correction."""
        return self.p_holm < LEVEL


@dataclass(frozen=True, eq=False)
class Comparisons:
    """All pairs of some runs: a difference in mIoU and one per class each, what to know about them, and a sentence."""

    shared: Shared
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
    sentence: str

    def of(self, score: str = MIOU) -> tuple[Difference, ...]:
        """The differences in one score."""
        return tuple(found for found in self.differences if found.score == score)

    def table(self) -> pd.DataFrame:
        """A row per pair and score: ``a, b, score, difference, low, high, probability_of_improvement, effect_size, p,
        p_holm``; differences as shares of 1.
        """
        return tabulate(self.differences)


def tabulate(found: Iterable[Any]) -> pd.DataFrame:
    """A row for each of some dataclasses, their ``estimate`` spread over columns of its own."""
    import pandas as pd  # noqa: PLC0415  (half a second that numbers alone do not need)

    rows: list[dict[str, Any]] = []
    for one in found:
        fields = asdict(one)
        estimate = fields.pop("estimate")
        rows.append({name: fields.pop(name) for name in list(fields)[:3]} | estimate | fields)
    return pd.DataFrame(rows)


def compare_runs(
    paths: Sequence[str | Path], *, resamples: int = RESAMPLES, progress: Progress = no_progress
) -> Comparisons:
    """Compare every pair of members and ensembles on the images they share, in mIoU and per class.

    Scores of all runs are taken on the same resamples of image groups, which makes the differences paired. Intervals
    and p-values are for other images of the kind, with the networks as they were trained; what training again with
    another seed changes is a question for :func:`ensemble.comparison.factor_effect`.

    Args:
        paths: directories of two or more members or ensembles.
        resamples: bootstrap resamples.
        progress: callback that receives the progress.

    Raises:
        EnsError: fewer than two runs, runs of different data or splits (both named), or images of one group only.

    Reference:
        Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979.
    """
    if len(paths) < 2:
        raise EnsError(f"expected at least two members or ensembles to compare, got {len(paths)}; name another one")
    shared = line_up(open_runs(paths, progress))
    differences = judge_pairs(shared.names, shared.columns, shared.scores(resamples, progress), progress)
    return Comparisons(shared, differences, notes_on(shared), sum_up(shared, differences))


def judge_pairs(
    names: Sequence[str],
    columns: Sequence[str],
    scores_r: Sequence[SampledScores],
    progress: Progress = no_progress,
) -> tuple[Difference, ...]:
    """The difference of every pair in every score, from the scores of the runs.

    p-values of the first score are corrected for the number of pairs, those of the others, which are looked at
    together, for the number of pairs times scores; a score that does not exist takes no part.

    Args:
        names: names of the runs r.
        columns: names of the scores c: mIoU, then classes.
        scores_r: scores of the runs on the same draws, in the order of ``columns``.
        progress: callback that receives the progress.
    """
    pairs, found = list(combinations(range(len(names)), 2)), list[Difference]()
    for done, (a, b) in enumerate(pairs, 1):
        for c, column in enumerate(columns):
            difference = scores_r[a].minus(scores_r[b], c)
            estimate, p = compare_with_p(difference)
            found.append(Difference(names[a], names[b], column, estimate, effect_size(difference), p, p))
        progress("comparing", done, len(pairs))
    corrected: dict[tuple[str, str, str], float] = {}
    for family in (columns[:1], columns[1:]):
        members = [one for one in found if one.score in family]
        for one, p_holm in zip(members, holm([one.p for one in members]), strict=True):
            corrected[one.a, one.b, one.score] = p_holm
    return tuple(replace(one, p_holm=corrected[one.a, one.b, one.score]) for one in found)

"""The outcomes of comparisons as data: pairs of runs, effects of a factor, and the numbers that a difference needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ensemble.comparison.factor_levels import Grid
from ensemble.comparison.inference import LEVEL
from ensemble.comparison.runs import MIOU, Shared
from ensemble.evaluation.paired import Comparison

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Difference:
    """Run a minus run b in one score.

    Attributes:
        a: first run.
        b: second run.
        score: ``mIoU``, a class (``IoU <class>`` if a score has its name), ``object F1`` or ``object F1 of <class>``.
        estimate: the difference as a share of 1, its 95 % interval and the probability of improvement.
        effect_size: see :func:`ensemble.comparison.inference.effect_size`.
        p: two-sided p-value; below 0.05 exactly if the interval does not hold zero.
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
        """Whether the difference is significant at 5 % after the correction."""
        return self.p_holm < LEVEL


@dataclass(frozen=True, eq=False)
class Comparisons:
    """All pairs of some runs, with one difference in mIoU and one per class for each pair.

    Attributes:
        shared: the runs on the images they share.
        differences: one for each pair and score.
        notes: caveats that a reader must know.
        sentence: the outcome.
        objects: differences in the F1 of objects, their mean and one per class for each pair; empty without objects.
            Their p-values are corrected among themselves.
    """

    shared: Shared
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
    sentence: str
    objects: tuple[Difference, ...] = ()

    def of(self, score: str = MIOU) -> tuple[Difference, ...]:
        """Return the differences in one score."""
        return tuple(difference for difference in self.differences if difference.score == score)

    def table(self) -> pd.DataFrame:
        """Return a row per pair and score; differences are shares of 1.

        The columns are ``a, b, score, difference, low, high, probability_of_improvement, few_groups, effect_size, p,
        p_holm``.
        """
        return _tabulate((*self.differences, *self.objects))


@dataclass(frozen=True)
class Effect:
    """The difference in score between a level of a factor and the baseline level.

    Attributes:
        level: the level.
        baseline: the level it is compared with.
        score: as in :class:`Difference`, without objects.
        estimate: mean difference as a share of 1, with its 95 % interval.
        freedom: degrees of freedom of the interval.
        p: two-sided p-value; below 0.05 exactly if the interval does not hold zero.
        p_holm: ``p`` corrected for the number of levels; for classes, of levels times classes.
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
        """Whether the effect is significant at 5 % after the correction."""
        return self.p_holm < LEVEL


@dataclass(frozen=True, eq=False)
class FactorEffect:
    """Effects of all levels of a factor.

    Attributes:
        grid: the runs that were compared, by level and block.
        effects: one for each level except the baseline and each score.
        spare: degrees of freedom left for the noise of training again; if it is 0, the intervals cover other images
            only.
        noise: standard deviation of the mIoU of a run about its level and block; NaN if ``spare`` is 0.
        notes: caveats that a reader must know.
        sentence: the outcome.
    """

    grid: Grid
    effects: tuple[Effect, ...]
    spare: int
    noise: float
    notes: tuple[str, ...]
    sentence: str

    def of(self, score: str = MIOU) -> tuple[Effect, ...]:
        """Return the effects on one score."""
        return tuple(effect for effect in self.effects if effect.score == score)

    def table(self) -> pd.DataFrame:
        """Return a row per level and score; differences are shares of 1.

        The columns are ``level, baseline, score, difference, low, high, probability_of_improvement, few_groups,
        freedom, p, p_holm, runs``.
        """
        return _tabulate(self.effects)


def _tabulate(outcomes: Iterable[Difference | Effect]) -> pd.DataFrame:
    """Return a row for each outcome; each field of its ``estimate`` becomes a column."""
    import pandas as pd  # noqa: PLC0415  (half a second that numbers alone do not need)

    rows: list[dict[str, Any]] = []
    for outcome in outcomes:
        fields = asdict(outcome)
        estimate = fields.pop("estimate")
        rows.append({name: fields.pop(name) for name in list(fields)[:3]} | estimate | fields)
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class PairPower:
    """The difference of one pair that the images at hand can show, and the number of groups that would be needed.

    Attributes:
        a: first run.
        b: second run.
        spread: standard deviation of their difference in mIoU from group to group.
        power: probability that a difference of the requested size is seen on the images at hand.
        visible: difference that is seen on them with 80 % probability.
        groups: groups needed; infinite beyond ten million.
        safe_groups: groups needed if the spread is not the estimated one but a safe one, see
            :func:`ensemble.comparison.t_tests.safe`.
        images: images in ``groups``, with as many images per group as at hand.
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
    """The number of trainings of each of two recipes that would be needed on the images at hand.

    Attributes:
        noise: standard deviation of the mIoU from seed to seed, pooled over recipes.
        freedom: its degrees of freedom.
        seeds: seeds needed of each recipe.
        safe_seeds: seeds needed if the noise is not the estimated one but a safe one.
    """

    noise: float
    freedom: int
    seeds: float
    safe_seeds: float


@dataclass(frozen=True, eq=False)
class Power:
    """The number of groups, images and seeds that show a difference of a given size.

    Attributes:
        difference: the requested difference, as a share of 1.
        runs: number of runs from which the variance was estimated.
        groups: groups of images at hand.
        images: images at hand.
        pairs: all pairs if there are at most three; else the steadiest, the median and the most variable pair.
        seeds: None if no two runs differ in the seed only.
        notes: caveats that a reader must know.
        sentence: the outcome.
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
        """Return a row per pair with the fields of :class:`PairPower` as columns."""
        import pandas as pd  # noqa: PLC0415  (half a second that numbers alone do not need)

        return pd.DataFrame([asdict(pair) for pair in self.pairs])

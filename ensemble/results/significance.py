"""Find the runs that are not significantly worse than the best one, score by score: the daggers of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.evaluation.boundary import boundary_f1
from ensemble.evaluation.caveats import too_few_groups
from ensemble.evaluation.confusion import Floats, class_counts, dice_of, divide_or_nan, iou_of
from ensemble.evaluation.intervals import Interval
from ensemble.evaluation.more_scores import image_miou_sums
from ensemble.evaluation.objects import ADDED, object_f1, object_recall
from ensemble.evaluation.paired import RESAMPLES, Draws, SampledScores, Total
from ensemble.evaluation.share_differences import ShareDifference
from ensemble.evaluation.shares import Shares
from ensemble.results.best import best
from ensemble.results.class_scores import class_columns, column_of
from ensemble.results.comparable import sets_of
from ensemble.results.find_column import column
from ensemble.runs.tables import ImageTables, read_tables

LEVEL = 0.95


@dataclass(frozen=True)
class Ties:
    """The runs that tie with the best one, by row and score.

    Attributes:
        marks: booleans by row and score; True for a run that is not the best and not significantly worse than it.
        tested: the scores that were tested; in the other scores a missing mark has no meaning.
        problems: a sentence for each row that could not be tested.
    """

    marks: pd.DataFrame
    tested: tuple[str, ...]
    problems: tuple[str, ...]


def ties(frame: pd.DataFrame, progress: Progress = no_progress, *, resamples: int = RESAMPLES) -> Ties:
    """Mark the runs that are not significantly worse than the best one of their data and split.

    Each run is compared with the one that scores best in the table by paired intervals over image groups. The
    intervals of all ``m - 1`` comparisons hold together with 95 % (Bonferroni: each at ``1 - 0.05 / (m - 1)``). So the
    truly best of these runs is among the best and the marked ones in at least 95 % of the cases, although the best one
    was picked on these very images. (Of 300 simulated sets of five equal runs, 3 % missed a given run; with each
    comparison at 95 % by itself it would be 9 %.)

    Args:
        frame: the results table, or some of its rows.
        progress: callback that receives the progress.
        resamples: bootstrap resamples.

    Returns:
        The marks with the same index as ``frame``. A set with one row, or with too few groups of images, has no marks.

    Reference:
        Gupta, On Some Multiple Decision (Selection and Ranking) Rules, 1965 (subsets that hold the best);
        Hsu, Constrained Simultaneous Confidence Intervals for Multiple Comparisons with the Best, 1984.
    """
    table: Any = frame
    scores = ["miou", *class_columns(frame.columns), *_TESTED]
    scores = [name for name in scores if table[name].notna().any()]
    marks = pd.DataFrame(False, index=frame.index, columns=scores)
    tested, problems, count = set[str](), list[str](), 0
    for _, rows in table.groupby(sets_of(frame), sort=False):
        if len(rows) > 1:
            for place, tied_by_score in _of_set(rows, scores, resamples, problems):
                count += 1
                progress("comparing with the best", count, len(frame))
                for name, tied in tied_by_score.items():
                    tested.add(name)
                    marks.loc[place, name] = tied
    return Ties(marks, tuple(name for name in scores if name in tested), tuple(problems))


def _of_set(rows: Any, scores: list[str], resamples: int, problems: list[str]) -> Iterator[tuple[Any, dict[str, bool]]]:
    """Yield the marks of the rows of one data set and split; memory holds the samples of the best runs and of one."""
    sampler, tops = _Sampler(resamples), cast(Any, best(rows))
    leaders = {name: rows.index[tops[name]][0] for name in scores if tops[name].any()}
    held: dict[Any, _RunScores] = {}
    for place in [*dict.fromkeys(leaders.values()), *rows.index.difference(list(leaders.values()), sort=False)]:
        try:
            mine = sampler.sample(Path(str(rows.loc[place, "path"])))
        except EnsError as error:
            problems.append(f"{rows.loc[place, 'name']} is not compared with the best: {error}")
            continue
        if too_few_groups(mine.groups):  # `notes` says so
            return
        if place in leaders.values():
            held[place] = mine
        else:
            yield place, _tied(mine, leaders, held, rows.loc[place], tops.loc[place], len(rows))
    for place, mine in held.items():
        yield place, _tied(mine, leaders, held, rows.loc[place], tops.loc[place], len(rows))


def _tied(
    mine: _RunScores, leaders: Mapping[str, Any], held: Mapping[Any, _RunScores], row: Any, top: Any, rows: int
) -> dict[str, bool]:
    """Return, for every score of a run that can be tested, whether it is not the best and not significantly worse."""
    level = 1 - (1 - LEVEL) / (rows - 1)
    tied: dict[str, bool] = {}
    for name, leader in leaders.items():
        other = held.get(leader)
        if other is not None and name in mine.names and name in other.names and not pd.isna(row[name]):
            tied[name] = not top[name] and not _worse(mine, other, name, level)
    return tied


@dataclass(frozen=True)
class _RunScores:
    """The scores of one run: those between 0 and 1, and means over pixels, which are resampled."""

    groups: int
    shares: Mapping[str, Shares]
    others: Mapping[str, SampledScores]

    @property
    def names(self) -> set[str]:
        """Names of all scores."""
        return {*self.shares, *self.others}

    def minus(self, other: _RunScores, name: str, level: float) -> Interval:
        """Return the interval of the difference to another run in one score."""
        if name in self.shares:
            return ShareDifference(self.shares[name], other.shares[name]).interval(level)
        return self.others[name].minus(other.others[name]).interval(level)


@dataclass
class _Sampler:
    """Scores runs on the resamples of a set: drawn for its first run, whose images and classes the others must have."""

    resamples: int
    first: ImageTables | None = None
    draws: Draws | None = None

    def sample(self, path: Path) -> _RunScores:
        images = read_tables(path)
        if self.first is None or self.draws is None:
            self.draws = Draws.of(images.groups, resamples=self.resamples)
            self.first = images
        if images.classes != self.first.classes:
            raise EnsError(
                f"expected the classes {', '.join(self.first.classes)}, got {', '.join(images.classes)};"
                " compare only runs of the same classes"
            )
        images = images.of(self.first.ids)
        shares = {name: self.draws.shares(score, holds_nk) for name, (score, holds_nk) in _shares(images).items()}
        others = {name: self.draws.scores(score) for name, score in _others(images).items()}
        return _RunScores(len(self.draws.left_out.names), shares, others)


def _worse(mine: _RunScores, leader: _RunScores, name: str, level: float) -> bool:
    """Return whether the whole interval of the difference to the best run shows a worse score."""
    difference = leader.minus(mine, name, level)
    return difference.low > 0 if column(name).better == "high" else difference.high < 0


_TESTED = ("dice", "image_miou", "object_recall", "object_f1", "boundary_f1", "pixel_accuracy", "log_loss", "brier")


Score = Callable[[Total], Floats]


def _shares(images: ImageTables) -> dict[str, tuple[Score, NDArray[np.bool_]]]:
    """Return the scores that count right pixels: as scores per class (..., k), and the images that hold each class."""
    counts_n3k = class_counts(images.tables["confusions"])
    holds_nk = counts_n3k[:, 2] > 0
    image_n2 = image_miou_sums(images.tables["confusions"])
    pixels_n2 = counts_n3k[:, [0, 2]].sum(2)
    scores: dict[str, tuple[Score, NDArray[np.bool_]]] = {
        "miou": (lambda total: iou_of(total(counts_n3k)), holds_nk),
        "dice": (lambda total: dice_of(total(counts_n3k)), holds_nk),
        "pixel_accuracy": (
            lambda total: divide_or_nan(*np.moveaxis(total(pixels_n2), -1, 0))[..., None],
            pixels_n2[:, 1:] > 0,
        ),
        "image_miou": (
            lambda total: divide_or_nan(*np.moveaxis(total(image_n2), -1, 0))[..., None],
            image_n2[:, 1:] > 0,
        ),
    }
    for k, name in enumerate(images.classes):
        one_n31 = counts_n3k[..., k : k + 1]
        scores[column_of(name)] = (lambda total, one_n31=one_n31: iou_of(total(one_n31)), holds_nk[:, k : k + 1])
    if "objects" in images.tables:
        objects_nk4 = images.tables["objects"].sum(2)
        is_there_nk = objects_nk4[..., 3] > 0
        scores["object_recall"] = (lambda total: object_recall(total(objects_nk4), ADDED), is_there_nk)
        scores["object_f1"] = (lambda total: object_f1(total(objects_nk4), ADDED), is_there_nk)
    if "boundary" in images.tables:
        boundary_nk4 = images.tables["boundary"]
        scores["boundary_f1"] = (lambda total: boundary_f1(total(boundary_nk4)), boundary_nk4[..., 3] > 0)
    return scores


def _others(images: ImageTables) -> dict[str, Score]:
    """Return the other scores: means over pixels."""
    pixels_n = images.tables["confusions"].sum(axis=(1, 2))

    def mean_of(table_n: NDArray[Any]) -> Score:
        return lambda total: divide_or_nan(total(table_n), total(pixels_n))[..., None]

    return {name: mean_of(images.tables[name]) for name in ("log_loss", "brier") if name in images.tables}

"""Find the runs that are not significantly worse than the best one, score by score: the daggers of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.evaluation.boundary import boundary_f1
from ensemble.evaluation.confusion import (
    Floats,
    dice_per_class,
    divide_or_nan,
    iou_per_class,
    mean_present,
    pixel_accuracy,
)
from ensemble.evaluation.paired import RESAMPLES, Draws, SampledScores, Total
from ensemble.results.best import best
from ensemble.results.columns import class_columns, column, column_of
from ensemble.results.comparable import sets_of
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

    Each run is compared with the one that scores best in the table by a paired bootstrap over image groups. The
    intervals of all ``m - 1`` comparisons hold together with 95 % (Bonferroni: each at ``1 - 0.05 / (m - 1)``). So the
    truly best of these runs is among the best and the marked ones in at least 95 % of the cases, although the best one
    was picked on these very images. (Of 300 simulated sets of five equal runs, 3 % missed a given run; with each
    comparison at 95 % by itself it would be 9 %.)

    Args:
        frame: the results table, or some of its rows.
        progress: callback that receives the progress.
        resamples: bootstrap resamples.

    Returns:
        The marks with the same index as ``frame``. A set with one row, or with one group of images, has no marks.

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
    """The scores of one run, and their names."""

    names: tuple[str, ...]
    sampled: SampledScores

    def of(self, name: str) -> SampledScores:
        return self.sampled.column(self.names.index(name))


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
        names = tuple(_scores(images, lambda values_n: values_n.sum(axis=0)))
        sampled = self.draws.scores(lambda total: np.stack(list(_scores(images, total).values()), axis=-1))
        return _RunScores(names, sampled)


def _worse(mine: _RunScores, leader: _RunScores, name: str, level: float) -> bool:
    """Return whether the whole interval of the difference to the best run shows a worse score."""
    difference = leader.of(name).minus(mine.of(name)).comparison(level=level)
    return difference.low > 0 if column(name).better == "high" else difference.high < 0


_TESTED = ("dice", "boundary_f1", "pixel_accuracy", "log_loss", "brier")


def _scores(images: ImageTables, total: Total) -> dict[str, Floats]:
    """Return every score by name, from sums over the images."""
    totals_bkk = total(images.tables["confusions"])
    iou_bk = iou_per_class(totals_bkk)
    scores = {
        "miou": mean_present(iou_bk),
        "dice": mean_present(dice_per_class(totals_bkk)),
        "pixel_accuracy": pixel_accuracy(totals_bkk),
    }
    for k, name in enumerate(images.classes):
        key = column_of(name)
        while key in scores:  # the table does the same if there are both "big rock" and "big_rock"
            key += "_"
        scores[key] = iou_bk[..., k]
    pixels_n = images.tables["confusions"].sum(axis=(1, 2))
    if "boundary" in images.tables:
        scores["boundary_f1"] = mean_present(boundary_f1(total(images.tables["boundary"])))
    for name in ("log_loss", "brier"):
        if name in images.tables:
            scores[name] = divide_or_nan(total(images.tables[name]), total(np.asarray(pixels_n)))
    return scores

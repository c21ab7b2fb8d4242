"""Which runs are not significantly worse than the best one, score by score: what the daggers of a table say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.evaluation.bootstrap import Bootstrap
from ensemble.evaluation.boundary import boundary_f1
from ensemble.evaluation.confusion import Floats, dice_per_class, iou_per_class, mean_present, pixel_accuracy
from ensemble.evaluation.intervals import interval
from ensemble.results.best import best
from ensemble.results.columns import class_columns, column, column_of
from ensemble.results.comparable import sets_of
from ensemble.runs.tables import ImageTables, read_tables

RESAMPLES = 10_000
LEVEL = 0.95


@dataclass(frozen=True)
class Ties:
    """What `ties` found.

    Attributes:
        marks: booleans by row and score: not the best, and not significantly worse than it.
        tested: the scores that were tested; elsewhere a missing mark says nothing.
        problems: a sentence for each row that could not be tested.
    """

    marks: pd.DataFrame
    tested: tuple[str, ...]
    problems: tuple[str, ...]


def ties(frame: pd.DataFrame, progress: Progress = no_progress, *, resamples: int = RESAMPLES) -> Ties:
    """Mark the runs that the images cannot tell from the best one of their data and split.

    Each run is compared with the one that scores best in the table by a paired bootstrap over image groups. The
    intervals of all ``m - 1`` comparisons hold together with 95 % (Bonferroni: each at ``1 - 0.05 / (m - 1)``), so that
    the truly best of these runs is among the best and the marked ones in at least 95 % of the cases, although the best
    was picked on these very images. (Of 300 simulated sets of five equal runs 3 % missed a given one; with each
    comparison at 95 % by itself 9 % would.)

    Args:
        frame: the results table, or some of its rows.
        progress: callback that receives the progress.
        resamples: bootstrap resamples.

    Returns:
        The marks with the same index as ``frame``. A set with one row, or with one group of images, has none.

    Reference:
        Gupta, On Some Multiple Decision (Selection and Ranking) Rules, 1965 (subsets that hold the best);
        Hsu, Constrained Simultaneous Confidence Intervals for Multiple Comparisons with the Best, 1984.
    """
    table: Any = frame
    scores = ["miou", *class_columns(frame.columns), *_TESTED]
    scores = [name for name in scores if table[name].notna().any()]
    marks = pd.DataFrame(False, index=frame.index, columns=scores)
    tested, problems, done = set[str](), list[str](), 0
    for _, rows in table.groupby(sets_of(frame), sort=False):
        if len(rows) > 1:
            for place, found in _of_set(rows, scores, resamples, problems):
                done += 1
                progress("comparing with the best", done, len(frame))
                for name, tied in found.items():
                    tested.add(name)
                    marks.loc[place, name] = tied
    return Ties(marks, tuple(name for name in scores if name in tested), tuple(problems))


def _of_set(rows: Any, scores: list[str], resamples: int, problems: list[str]) -> Iterator[tuple[Any, dict[str, bool]]]:
    """Marks of the rows of one data set and split, one by one: memory holds the samples of the best runs and of one."""
    draws, tops = _Draws(resamples), cast(Any, best(rows))
    leaders = {name: rows.index[tops[name]][0] for name in scores if tops[name].any()}
    held: dict[Any, _Samples] = {}
    for place in [*dict.fromkeys(leaders.values()), *rows.index.difference(list(leaders.values()), sort=False)]:
        try:
            mine = draws.samples(Path(str(rows.loc[place, "path"])))
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
    mine: _Samples, leaders: Mapping[str, Any], held: Mapping[Any, _Samples], row: Any, top: Any, rows: int
) -> dict[str, bool]:
    """For every score of a run that can be tested: is it not the best, and not significantly worse?"""
    level = 1 - (1 - LEVEL) / (rows - 1)
    found: dict[str, bool] = {}
    for name, leader in leaders.items():
        other = held.get(leader)
        if other is not None and name in mine.drawn and name in other.drawn and not pd.isna(row[name]):
            found[name] = not top[name] and not _worse(mine, other, name, level)
    return found


@dataclass(frozen=True)
class _Samples:
    """Scores by name in every resample (b,) and with every group left out (g,)."""

    drawn: Mapping[str, Floats]
    left_out: Mapping[str, Floats]


@dataclass
class _Draws:
    """The resamples of a set: drawn for its first run, whose images and classes the others must have."""

    resamples: int
    first: ImageTables | None = None
    drawn: Bootstrap | None = None

    def samples(self, path: Path) -> _Samples:
        images = read_tables(path)
        if self.first is None or self.drawn is None:
            self.drawn = Bootstrap.draw(images.groups, resamples=self.resamples)
            self.first = images
        if images.classes != self.first.classes:
            raise EnsError(
                f"expected the classes {', '.join(self.first.classes)}, got {', '.join(images.classes)};"
                " compare it alone"
            )
        images = images.of(self.first.ids)
        return _Samples(_scores(images, self.drawn), _scores(images, self.drawn.leave_one_out))


def _worse(mine: _Samples, best_one: _Samples, name: str, level: float) -> bool:
    difference_b = best_one.drawn[name] - mine.drawn[name]
    limits = interval(difference_b, level, left_out_g=best_one.left_out[name] - mine.left_out[name])
    return limits.low > 0 if column(name).better == "high" else limits.high < 0


_TESTED = ("dice", "boundary_f1", "pixel_accuracy", "log_loss", "brier")


def _scores(images: ImageTables, drawn: Bootstrap) -> dict[str, Floats]:
    """Every score in every resample, from sums over the images."""
    totals_bkk = drawn.totals(images.tables["confusions"])
    iou_bk = iou_per_class(totals_bkk)
    found = {
        "miou": mean_present(iou_bk),
        "dice": mean_present(dice_per_class(totals_bkk)),
        "pixel_accuracy": pixel_accuracy(totals_bkk),
    }
    for k, name in enumerate(images.classes):
        key = column_of(name)
        while key in found:  # as in the table: "big rock" beside "big_rock"
            key += "_"
        found[key] = iou_bk[:, k]
    pixels_n = images.tables["confusions"].sum(axis=(1, 2))
    if "boundary" in images.tables:
        found["boundary_f1"] = mean_present(boundary_f1(drawn.totals(images.tables["boundary"])))
    for name in ("log_loss", "brier"):
        if name in images.tables:
            found[name] = drawn.ratio(images.tables[name], np.asarray(pixels_n))
    return found

"""Compare all methods on the same folds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.combining.advice import ERROR
from ensemble.combining.alignment import Aligned, align
from ensemble.combining.crossfit import CrossFit, cross_fit_all
from ensemble.combining.ensemble_settings import choose_folds, look_at, pool_settings
from ensemble.combining.pipeline import Pipeline
from ensemble.combining.registry import variants
from ensemble.config import Calibrate, Decide, DecideFrom, SmallestObject
from ensemble.core.progress import Progress, no_progress
from ensemble.evaluation.bootstrap import sum_by_group
from ensemble.evaluation.caveats import too_few_groups
from ensemble.evaluation.intervals import Interval
from ensemble.evaluation.joint import joint_level
from ensemble.evaluation.paired import Draws
from ensemble.evaluation.proportion_intervals import class_intervals
from ensemble.runs.member import Member
from ensemble.runs.select import choose_members

if TYPE_CHECKING:
    import pandas as pd


def combine_all(
    members: Sequence[str | Path | Member] = (),
    *,
    calibrate: Calibrate = "none",
    decide: Decide = "argmax",
    decide_from: DecideFrom = "validation",
    smallest_object: SmallestObject = None,
    top: int | None = None,
    drop: Sequence[str | Path] = (),
    folds: int | None = None,
    seed: int = 0,
    runs: str | Path = "runs",
    progress: Progress = no_progress,
) -> pd.DataFrame:
    """Cross-fit every method with every choice of its options on the same folds; save only that they were looked at.

    Args:
        members, calibrate, decide, decide_from, smallest_object, top, drop, folds, seed, runs, progress: see `combine`.

    Returns:
        A row per method, the best first, with scores as shares of 1: ``method``, ``miou`` with ``miou_low`` and
        ``miou_high`` (95 %), ``miou_in_sample``, ``log_loss``, ``ece``, ``difference`` to the plain average with
        ``difference_low`` and ``difference_high``, ``to_best`` with ``to_best_low`` and ``to_best_high``, the
        difference to the best member of the last row, ``seconds`` of all the fits, ``chosen``, the method that
        ``auto`` selected, and ``failed``, the reason why a method could not be fitted (it has no scores). The last
        row, "best member", is the member that is best on the other folds. The intervals of
        all differences in the table hold together with 95 % (`joint_level`), because the best of many methods looks
        good by chance; ``attrs["level"]`` is the level of each. ``attrs["notes"]`` names members that are nearly the
        same, ``attrs["groups"]`` is the number of groups of images, and ``attrs["looks"]`` the number of variants that
        have been judged on these images so far, with those of the table.

    Raises:
        EnsError: fewer than two members, or members that do not fit together.
    """
    import pandas as pd  # noqa: PLC0415

    pipelines = [Pipeline(str(call), calibrate, decide, top, decide_from, smallest_object) for call in variants()]
    opened = choose_members(Path(runs), members, drop)
    aligned = align(opened)
    folds = choose_folds(aligned, folds)
    failed: dict[int, str] = {}
    fits = cross_fit_all(aligned, pipelines, folds=folds, seed=seed, failed=failed, shapes=False, progress=progress)
    scored = [each for place, each in enumerate(pipelines) if place not in failed]
    rows, level = rows_of([each.title for each in scored], fits, aligned)
    rows = [row | {"failed": ""} for row in rows]
    unscored = [{"method": pipelines[place].title, "chosen": "", "failed": text} for place, text in failed.items()]
    frame = pd.DataFrame([*rows[:-1], *unscored, rows[-1]])
    looks = look_at(Path(runs), [pool_settings(aligned, opened[0], each, folds, seed) for each in scored])
    groups = len(set(aligned.groups))
    frame.attrs |= {"notes": list(fits[0].copies), "groups": groups, "level": level, "looks": looks}
    return frame


def summarise(rows: Sequence[Mapping[str, Any]], groups: int) -> str:
    """Return the method with the highest mIoU, those that are proven better than the plain average, and what to do."""
    highest = f"Highest mIoU: {rows[0]['method']}."
    if reason := too_few_groups(groups):
        return f"{highest} {reason}"
    *methods, member = [(str(row["method"]), (row["difference_low"] or 0) > 0) for row in rows]
    better = [name for name, proven in methods if proven]
    found = f"Proven better than the plain average: {', '.join(better)}."
    if not better:
        found = "No method is proven better than the plain average."
    if member[1]:
        found += " The best member alone is."
    return (
        f'{highest} {found} Repeat the command with --method "{better[0] if better else "average"}" instead of'
        " --all-methods: its verdict says whether to use it or the best member."
    )


def rows_of(titles: Sequence[str], fits: Sequence[CrossFit], aligned: Aligned) -> tuple[list[dict[str, Any]], float]:
    """Return the rows of `combine_all`, and the level of the intervals of their differences, which hold together.

    One bootstrap of the image groups pairs all differences.
    """
    systems = [fit.crossfit.confusions_nkk for fit in fits]
    draws = Draws.of(aligned.groups)
    *scores, average = map(draws.iou, [*systems, fits[0].best_member_nkk, fits[0].average.confusions_nkk])
    gains = [{"difference": own.minus(average), "to_best": own.minus(scores[-1])} for own in scores]
    level = joint_level([gain for each in gains for gain in each.values()], ERROR)
    held_k = (sum_by_group(systems[0].sum(2), aligned.groups)[0] > 0).sum(0).tolist()
    heads = [_fit_columns(name, fit) for name, fit in zip(titles, fits, strict=True)]
    heads.append({"method": "best member", "chosen": "", "chosen_in_folds": ""})
    rows: list[dict[str, Any]] = []
    for head, own, each in zip(heads, scores, gains, strict=True):
        limits = class_intervals(own.whole_c[1:], own.left_out_gc[:, 1:], held_k)[0]
        limits = Interval(math.nan, math.nan) if too_few_groups(len(own.left_out_gc)) else limits
        row = {"miou": float(own.whole_c[0]), "miou_low": limits.low, "miou_high": limits.high}
        for name, difference in each.items():
            gain = difference.comparison(level=level)
            row |= {name: gain.difference, f"{name}_low": gain.low, f"{name}_high": gain.high}
        rows.append(head | row)
    return sorted(rows[:-1], key=lambda row: -row["miou"]) + rows[-1:], level


def _fit_columns(name: str, fit: CrossFit) -> dict[str, Any]:
    took = [pool.chosen for pool in fit.fold_pools if pool.chosen]
    basics = fit.crossfit.basics()
    return {
        "method": name,
        "miou_in_sample": fit.in_sample.basics()["miou"],
        "log_loss": basics["log_loss"],
        "ece": basics["ece"],
        "seconds": fit.seconds,
        "chosen": fit.pool.chosen,
        "chosen_in_folds": f"{took.count(fit.pool.chosen)} of {len(took)}" if took else "",
    }

"""The tables of ``ens compare``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

from ensemble.cli.tables import table
from ensemble.core.formatting import percent
from ensemble.evaluation.caveats import RARE_NOTE
from ensemble.evaluation.objects import object_f1, object_precision, object_recall

if TYPE_CHECKING:
    from ensemble.comparison import Comparisons, Difference, Effect, FactorEffect, Power


def pair_tables(comparisons: Comparisons) -> list[Any]:
    """Return three tables and a remark: the runs with a letter each, their differences in mIoU, and those per class."""
    shared = comparisons.shared
    letter = dict(zip(shared.names, map(_letter, range(len(shared.names))), strict=True))
    scores = [
        [letter[name], name, "ensemble" if run.members else "member", *map(percent, whole_c)]
        for name, run, whole_c in zip(shared.names, shared.runs, shared.whole_rc.tolist(), strict=True)
    ]
    count = f"{len(shared.groups)} shared images of {len(set(shared.groups))} groups"
    overall = [
        [
            f"{letter[one.a]} - {letter[one.b]}",
            one.estimate.in_points,
            _p(one.p),
            _p(one.p_holm),
            *_chances(one),
        ]
        for one in comparisons.of()
    ]
    per_class = [
        [
            f"{letter[pair.a]} - {letter[pair.b]}",
            *(_starred(one) for one in comparisons.differences if _same(one, pair)),
        ]
        for pair in comparisons.of()
    ]
    columns = ["", "points of mIoU", "p", "Holm p", "P(first better)", "effect size d"]
    return [
        table(f"IoU in % on {count}", ["", "", "", *shared.columns], scores, left=3),
        table("differences (positive: the first is better), 95 % interval", columns, overall),
        table(
            "per class; * marks differences that are significant after Holm's correction over pairs and columns",
            ["", *shared.columns[1:]],
            per_class,
        ),
        *_object_tables(comparisons, letter),
        *_rare((*comparisons.differences, *comparisons.objects)),
        "[dim]These intervals hold for other images and the same networks. For the change that another seed makes, use"
        " --factor.[/]",
    ]


def _object_tables(comparisons: Comparisons, letter: dict[str, str]) -> list[Any]:
    """Return two tables: the objects that each run finds, and the differences in their F1."""
    shared = comparisons.shared
    if shared.objects_nrk4 is None:
        return []
    counts_rk4 = shared.objects_nrk4.sum(0)
    scores_srk = [score(counts_rk4).tolist() for score in (object_f1, object_recall, object_precision)]
    cells_rk = [
        ["{} ({}, {})".format(*map(percent, one)) for one in zip(*scores_sk, strict=True)]
        for scores_sk in zip(*scores_srk, strict=True)
    ]
    names = [[letter[name], name] for name in shared.names]
    differences: dict[str, list[str]] = {}
    for one in comparisons.objects:
        differences.setdefault(f"{letter[one.a]} - {letter[one.b]}", []).append(_starred(one))
    return [
        table(
            "objects: F1 in % (found, right); IoU of at least 0.5",
            ["", "", *shared.classes],
            [[*name, *cells] for name, cells in zip(names, cells_rk, strict=True)],
            left=2,
        ),
        table(
            "differences in the F1 of objects",
            ["", "mean", *shared.classes],
            [[pair, *cells] for pair, cells in differences.items()],
        ),
    ]


def _same(one: Difference, pair: Difference) -> bool:
    return (one.a, one.b) == (pair.a, pair.b) and one.score != pair.score


def _letter(index: int) -> str:
    return ascii_uppercase[index % 26] + (str(index // 26) if index >= 26 else "")


def _p(value: float) -> str:
    return "-" if math.isnan(value) else "<0.001" if value < 0.001 else f"{value:.3f}"


def _rare(outcomes: Sequence[Difference | Effect]) -> list[str]:
    """Return a line about the mark of classes that few groups hold, if any has it."""
    rare = any(one.estimate.few_groups for one in outcomes)
    return [f"[dim]{RARE_NOTE}; such a difference gets no *[/]"] if rare else []


def _chances(one: Difference) -> tuple[str, str]:
    """Return the probability of improvement and the effect size; without an interval there are neither."""
    if math.isnan(one.estimate.low):
        return "-", "-"
    size = "-" if math.isnan(one.effect_size) else f"{one.effect_size:+.2f}"
    return f"{one.estimate.probability_of_improvement:.1%}", size


def _starred(one: Difference | Effect) -> str:
    if math.isnan(one.estimate.low):
        return "-"
    return one.estimate.in_points + ("*" if one.significant and not one.estimate.few_groups else "")


def factor_tables(effect: FactorEffect) -> list[Any]:
    """Return a row per level, and the noise of training again if it is known."""
    overall = effect.of()
    classes = list(dict.fromkeys(one.score for one in effect.effects))[1:]
    rows = [
        [
            one.level,
            str(one.runs),
            _starred(one),
            _p(one.p),
            _p(one.p_holm),
            *(_starred(other) for other in effect.effects if other.level == one.level and other.score in classes),
        ]
        for one in overall
    ]
    title = (
        f"effect of {effect.grid.factor} against {effect.grid.levels[0]}, averaged over the other settings;"
        " points of IoU, 95 % interval, * marks effects that are significant after Holm's correction"
    )
    shown: list[Any] = [table(title, [effect.grid.factor, "runs", overall[0].score, "p", "Holm p", *classes], rows)]
    shown += _rare(effect.effects)
    if effect.spare:
        shown.append(
            "[dim]These intervals hold for other images and other trainings; noise of one run:"
            f" {100 * effect.noise:.2f} points of mIoU"
            f" ({effect.spare} degrees of freedom)[/]"
        )
    return shown


def power_tables(power: Power) -> list[Any]:
    """Return a row per pair."""
    rows = [
        [
            f"{pair.a} - {pair.b}",
            f"{100 * pair.spread:.1f}",
            f"{100 * pair.visible:.2f}",
            f"{pair.power:.0%}",
            *map(_count, (pair.groups, pair.safe_groups, pair.images, pair.safe_images)),
        ]
        for pair in power.pairs
    ]
    which = f"; the steadiest, the median and the most variable pair of {power.runs} runs" if power.runs > 3 else ""
    points = f"{100 * power.difference:g} point{'s' * (power.difference != 0.01)}"
    title = f"{points} of mIoU at 5 % with 80 % power{which}"
    now = f"visible on {power.groups} groups"
    columns = ["", "sd of groups", now, "power now", "groups needed", "to be safe", "images", "to be safe"]
    return [table(title, columns, rows)]


def _count(number: float) -> str:
    return "-" if math.isinf(number) else f"{number:,.0f}"

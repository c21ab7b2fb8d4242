"""Describe comparisons in plain sentences: the differences, and what the reader must know about the runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ensemble.comparison.factor_levels import Grid
from ensemble.comparison.outcomes import Difference, Effect, PairPower, SeedPower
from ensemble.comparison.runs import Shared
from ensemble.core.formatting import counted
from ensemble.evaluation.caveats import support_notes, too_few_groups


def p_value_text(p: float) -> str:
    """Return a p-value as people read it: ``p = 0.03``, ``p < 0.001``.

    >>> p_value_text(0.0312), p_value_text(0.0002), p_value_text(0.0499)
    ('p = 0.031', 'p < 0.001', 'p = 0.050')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def pair_summary(difference: Difference, tests: int, of: str = "pairs") -> str:
    """Return one sentence on a pair of runs, whose p-value is corrected for ``tests`` pairs or differences."""
    better, worse, estimate = difference.a, difference.b, difference.estimate
    if estimate.difference < 0:
        better, worse = worse, better
        estimate = replace(estimate, difference=-estimate.difference, low=-estimate.high, high=-estimate.low)
    points = f"{estimate.in_points} points of {difference.score}"
    corrected = p_value_text(difference.p)
    if tests > 1:
        corrected = f"{p_value_text(difference.p_holm)} after Holm's correction for {tests} {of}"
    if difference.estimate.covers_zero:
        points = f"{difference.estimate.in_points} points of {difference.score}"
        return f"{difference.a} and {difference.b} do not differ significantly: {points}, {corrected}."
    if difference.significant:
        return f"{better} is better than {worse}: {points}, {corrected}."
    return (
        f"{better} looks better than {worse}, {points}, but among {tests} {of} such a difference is expected by chance"
        f" ({corrected})."
    )


def summarise(shared: Shared, differences: Sequence[Difference]) -> str:
    """Return the outcome: a sentence on the mIoU, and one on the mIoU without the classes that few groups hold.

    For two runs a sentence is their difference. For more runs it names those that are significantly worse than the best
    one, and those that are not. With too few groups of images there is no outcome.
    """
    if reason := too_few_groups(len(set(shared.groups))):
        return reason
    pairs = [one for one in differences if one.score == shared.columns[0]]
    sentences = [_outcome(shared, differences, 0, len(pairs), "pairs")]
    if shared.common_k is not None:
        sentences.append(_outcome(shared, differences, -1, _tested(differences) - _tested(pairs), "differences"))
    return " ".join(sentences)


def _tested(ones: Sequence[Difference | Effect]) -> int:
    """Return how many p-values there are: a class that no image holds has none."""
    return sum(not math.isnan(one.p) for one in ones)


def _outcome(shared: Shared, differences: Sequence[Difference], column: int, tests: int, of: str) -> str:
    """Return the outcome in the score of a column, whose p-values are corrected for ``tests`` pairs or differences."""
    score, scores_r = shared.columns[column], shared.whole_rc[:, column]
    in_score = [difference for difference in differences if difference.score == score]
    if len(in_score) == 1:
        return pair_summary(in_score[0], tests, of)
    best = shared.names[int(np.nanargmax(scores_r))] if not np.isnan(scores_r).all() else shared.names[0]
    worse: list[str] = []
    equal: list[str] = []
    for difference in in_score:
        if best in (difference.a, difference.b):
            other = difference.b if difference.a == best else difference.a
            (worse if difference.significant else equal).append(other)
    parts = [f"{best} scores best" if column == 0 else f"In {score}, {best} scores best"]
    if worse:
        parts.append(f"it is significantly better than {_list(worse)}")
    if equal:
        parts.append(f"it is not significantly better than {_list(equal)}")
    return f"{'; '.join(parts)} (Holm's correction for {tests} {of})."


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def caveats(shared: Shared) -> tuple[str, ...]:
    """Return a sentence for each thing that makes a comparison of these runs weaker than it looks."""
    notes: list[str] = []
    by_name = dict(zip(shared.names, shared.runs, strict=True))
    for name, run in by_name.items():
        if run.selected:
            whose = "one of its members" if run.members else "it"
            notes.append(
                f"{name}: an epoch of {whose} was chosen on these very images (keep best), so its score is too good;"
                " train with keep last to compare."
            )
        notes += [
            f"{name} contains {other}. If that member was picked because it scores best on these images, its score is"
            " flattered; `ens combine` also compares with a member picked on other images."
            for other, member in by_name.items()
            if member.name in run.members
        ]
        if len(run.ids) > len(shared.groups):
            notes.append(
                f"{name}: the comparison uses {len(shared.groups)} of its {len(run.ids)} images, those that all runs"
                " have."
            )
        if dropped := [known for known in run.classes if known not in shared.classes]:
            notes.append(
                f"{name} also scores '{dropped[0]}', which is void for other runs. Its pixels are left out, and pixels"
                f" of other classes that {name} predicts as '{dropped[0]}' count as missed."
            )
    return (*notes, *support_notes(shared.confusions_nrkp[:, 0], shared.groups, shared.classes))


def effects_summary(effects: Sequence[Effect], shared: Shared) -> str:
    """Return the effects of the levels of a factor on the mIoU in one sentence, or that there are too few groups.

    If few groups hold some classes, a second sentence names the effects on the mIoU without them.
    """
    if reason := too_few_groups(len(set(shared.groups))):
        return reason
    levels = [one for one in effects if one.score == shared.columns[0]]
    sentences = [_effects(effects, shared.columns[0], f"{len(levels)} levels" if len(levels) > 1 else "")]
    if shared.common_k is not None:
        tests = _tested(effects) - _tested(levels)
        sentences.append(_effects(effects, shared.columns[-1], f"{tests} differences"))
    return " ".join(sentences)


def _effects(effects: Sequence[Effect], score: str, corrected_for: str) -> str:
    """Return the effects in one score in one sentence."""
    in_score = [effect for effect in effects if effect.score == score]
    parts = list[str]()
    for words, sign in (("better", 1), ("worse", -1), ("no significant difference", 0)):
        levels = [e for e in in_score if sign == (np.sign(e.estimate.difference) if e.significant else 0)]
        levels.sort(key=lambda e: -e.estimate.difference)
        if levels:
            parts.append(f"{words}: {', '.join(f'{e.level} {e.estimate.in_points}' for e in levels)}")
    corrected = f" after Holm's correction for {corrected_for}" if corrected_for else ""
    return f"Compared with {in_score[0].baseline}, in points of {score}{corrected}: {'; '.join(parts)}."


def grid_caveats(grid: Grid, spare: int, imported: int, repeated: int) -> tuple[str, ...]:
    """Return a sentence for each thing that a grid of runs cannot show, and for runs that are left out.

    Args:
        grid: the runs that are compared.
        spare: degrees of freedom left for the noise of training again.
        imported: number of imported members among the runs.
        repeated: number of runs whose training another run stands for.
    """
    notes = [f"{reason}; its effect cannot be separated from that." for reason in grid.apart]
    if not spare:
        notes.append(
            "No setting was trained twice, so the intervals hold for other images but not for training again, which"
            " may change the scores as much; train with other seeds."
        )
    if imported:
        subject = "1 imported member is" if imported == 1 else f"{imported} imported members are"
        notes.append(f"{subject} left out because the settings are not known.")
    if repeated:
        notes.append(
            f"{counted(repeated, 'run')} {'is' if repeated == 1 else 'are'} left out, because another run is of the"
            " same training (with other views of tta): only another training shows what training again"
            " changes."
        )
    return tuple(notes)


def power_summary(difference: float, pairs: Sequence[PairPower], seeds: SeedPower | None, groups: int) -> str:
    """Return how many groups and how many seeds show a difference; of several pairs, with the range over them.

    Args:
        difference: the requested difference, as a share of 1.
        pairs: the pairs, the steadiest first.
        seeds: the estimate for seeds, if it is known.
        groups: groups of images at hand.
    """
    points, least, most = f"{100 * difference:g} point{'s' * (difference != 0.01)} of mIoU", pairs[0], pairs[-1]
    between = f"between {least.a} and {least.b}"
    if len(pairs) > 1:
        between += f" (the steadiest pair) or {most.a} and {most.b} (the most variable)"
    if math.isinf(least.groups):
        first = f"No number of images shows {points} {between}."
    else:
        first = (
            f"To see {points} {between} in four of five cases, {_span(least.groups, most.groups)} groups of images"
            f" ({_span(least.images, most.images)} images) are needed, and"
            f" {_span(least.safe_groups, most.safe_groups)} groups"
            f" ({_span(least.safe_images, most.safe_images)} images) to be safe. The {groups} groups at hand show this"
            f" difference in {_span(least.power, most.power, '.0%')} of the cases; they show"
            f" {_span(100 * least.visible, 100 * most.visible, '.2g')} points in four of five cases."
        )
    if seeds is None:
        return f"{first} The number of seeds needed is not known, because no two runs differ in the seed only."
    return (
        f"{first} Between two recipes on these images, {_count(seeds.seeds)} seeds of each are needed, and"
        f" {_count(seeds.safe_seeds)} to be safe (the noise between seeds is known with {seeds.freedom}"
        f" degree{'s' * (seeds.freedom > 1)} of freedom)."
    )


def _count(number: float, form: str = ",.0f") -> str:
    return "infinitely many" if math.isinf(number) else format(number, form)


def _span(least: float, most: float, form: str = ",.0f") -> str:
    """Return two numbers as a range, or one if they read alike."""
    low, high = (_count(number, form) for number in sorted((least, most)))
    return low if low == high else f"{low} to {high}"

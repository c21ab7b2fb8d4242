"""What a comparison says in plain sentences: differences, and what the reader must know about the runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ensemble.combining.verdict import describe
from ensemble.evaluation.caveats import support_notes

if TYPE_CHECKING:
    from ensemble.comparison.factor_levels import Grid
    from ensemble.comparison.factors import Effect
    from ensemble.comparison.pairs import Difference
    from ensemble.comparison.runs import Shared
    from ensemble.comparison.sample_size import PairPower, SeedPower


def tell_p(p: float) -> str:
    """A p-value as people read it: ``p = 0.03``, ``p < 0.001``.

    >>> tell_p(0.0312), tell_p(0.0002), tell_p(0.0499)
    ('p = 0.031', 'p < 0.001', 'p = 0.050')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def tell_pair(found: Difference, pairs: int) -> str:
    """One sentence on a pair that is one of ``pairs``."""
    points = f"{describe(found.estimate)} points of {found.score}"
    corrected = f"{tell_p(found.p_holm)} after Holm's correction for {pairs} pairs" if pairs > 1 else tell_p(found.p)
    if found.estimate.covers_zero:
        return f"These images cannot tell {found.a} from {found.b}: {points}, {corrected}."
    better, worse = (found.a, found.b) if found.estimate.difference > 0 else (found.b, found.a)
    if found.significant:
        return f"{better} is better than {worse}: {points}, {corrected}."
    return (
        f"{better} looks better than {worse}, {points}, but among {pairs} pairs such a difference is expected by chance"
        f" ({corrected})."
    )


def sum_up(shared: Shared, differences: Sequence[Difference]) -> str:
    """The outcome: of two runs their difference; of more, which the best one beats and which it cannot be told from."""
    overall = [found for found in differences if found.score == shared.columns[0]]
    if len(overall) == 1:
        return tell_pair(overall[0], 1)
    scores_r = shared.whole_rc[:, 0]
    best = shared.names[int(np.nanargmax(scores_r))] if not np.isnan(scores_r).all() else shared.names[0]
    beaten: list[str] = []
    equal: list[str] = []
    for found in overall:
        if best in (found.a, found.b):
            other = found.b if found.a == best else found.a
            (beaten if found.significant else equal).append(other)
    parts = [f"{best} scores best"]
    if beaten:
        parts.append(f"it is better than {_list(beaten)}")
    if equal:
        parts.append(f"these images cannot tell it from {_list(equal)}")
    return f"{'; '.join(parts)} (Holm's correction for {len(overall)} pairs)."


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def notes_on(shared: Shared) -> tuple[str, ...]:
    """What makes a comparison of these runs weaker than it looks."""
    notes: list[str] = []
    by_name = dict(zip(shared.names, shared.runs, strict=True))
    for name, run in by_name.items():
        if run.selected:
            whose = "one of its members" if run.members else "it"
            notes.append(
                f"{name}: an epoch of {whose} was chosen on these very images (--keep best), so its score is too good;"
                " train with --keep last to compare."
            )
        notes += [
            f"{name} contains {other}. If that member was picked because it scores best on these images, its score is"
            " flattered; `ens combine` also compares with a member picked on other images."
            for other, member in by_name.items()
            if member.name in run.members
        ]
        if len(run.ids) > len(shared.groups):
            notes.append(f"{name}: {len(shared.groups)} of its {len(run.ids)} images are in all runs and compared.")
        if dropped := [known for known in run.classes if known not in shared.classes]:
            notes.append(
                f"{name} also scores '{dropped[0]}', which other runs take as void: its pixels are left out, and pixels"
                f" of other classes that {name} gives to it count as missed."
            )
    return (*notes, *support_notes(shared.confusions_nrkp[:, 0], shared.groups, shared.classes))


def tell_effects(effects: Sequence[Effect]) -> str:
    """What the levels of a factor do to the mIoU, in a sentence."""
    overall = [effect for effect in effects if effect.score == effects[0].score]
    baseline, parts = overall[0].baseline, list[str]()
    for words, wanted in (("better", 1), ("worse", -1), ("not told apart", 0)):
        chosen = [e for e in overall if wanted == (np.sign(e.estimate.difference) if e.significant else 0)]
        chosen.sort(key=lambda e: -e.estimate.difference)
        if chosen:
            parts.append(f"{words}: {', '.join(f'{e.level} {describe(e.estimate)}' for e in chosen)}")
    corrected = f" after Holm's correction for {len(overall)} levels" if len(overall) > 1 else ""
    return f"Against {baseline}, in points of mIoU{corrected}: {'; '.join(parts)}."


def notes_on_grid(grid: Grid, spare: int, imported: int) -> tuple[str, ...]:
    """What a grid of runs cannot tell."""
    notes = [f"{told}; its effect cannot be separated from that." for told in grid.apart]
    if not spare:
        notes.append(
            "No setting was trained twice, so the intervals hold for other images but not for training again, which"
            " may change as much; train with other seeds."
        )
    if imported:
        notes.append(f"{imported} imported members are left out: their settings are not known.")
    return tuple(notes)


def tell_power(difference: float, pairs: Sequence[PairPower], seeds: SeedPower | None, groups: int) -> str:
    """How many groups, and how many seeds, a difference takes; of several pairs for the one in the middle."""
    points, pair = f"{100 * difference:g} points of mIoU", pairs[len(pairs) // 2]
    between = f"between {pair.a} and {pair.b}" if len(pairs) == 1 else "between two runs such as these"
    if math.isinf(pair.groups):
        first = f"No number of images shows {points} {between}."
    else:
        first = (
            f"To see {points} {between} in four of five cases takes {_many(pair.groups)} groups of images,"
            f" {_many(pair.safe_groups)} to be safe ({_many(pair.images)} and {_many(pair.safe_images)} images). The"
            f" {groups} at hand show it in {pair.power:.0%} of the cases; in four of five they show"
            f" {100 * pair.visible:.2g} points."
        )
    if seeds is None:
        return f"{first} How many seeds it takes is not known: no two runs differ in the seed alone."
    return (
        f"{first} Between two recipes on these images it takes {_many(seeds.seeds)} seeds of each,"
        f" {_many(seeds.safe_seeds)} to be safe (the noise between seeds is known with {seeds.freedom}"
        f" degree{'s' * (seeds.freedom > 1)} of freedom)."
    )


def _many(number: float) -> str:
    return "countless" if math.isinf(number) else f"{number:,.0f}"

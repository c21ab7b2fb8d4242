"""The steps of an ablation: members of which each changes one setting of the one before, and what the step brought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ensemble.comparison import compare_runs
from ensemble.config import MemberSettings
from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.core.registry import IMPORTED
from ensemble.report.report_data import Material
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.member import Member

LONGEST = 16  # rungs that can be read
MACHINE = {"device", "precision", "threads"}  # no step is made of these
ARROW = "\u2192"


def changes(before: MemberSettings, after: MemberSettings) -> list[str] | None:
    """What differs between two members, in words; None where one was imported: nobody knows how it was trained.

    Epochs that were measured from the same budget are no difference.

    >>> from ensemble.config import Component
    >>> settings = MemberSettings(architecture=Component(name="unet"), loss=Component(name="ce"))
    >>> changes(settings, settings.model_copy(update={"loss": Component(name="dice"), "epochs": 9}))
    ['loss ce \u2192 dice', 'epochs none \u2192 9']
    """
    one, other = before.model_dump(mode="json"), after.model_dump(mode="json")
    if IMPORTED in (one["architecture"]["origin"], other["architecture"]["origin"]):
        return None
    for content in (one, other):
        content["background"] = content.pop("data")["background"]
    out = MACHINE | ({"epochs"} if one["budget_seconds"] == other["budget_seconds"] is not None else set())
    return [_in_words(key, one[key], other[key]) for key in one if key not in out and one[key] != other[key]]


def _in_words(key: str, before: Any, after: Any) -> str:
    title = key.replace("_", " ")
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        names = before.get("name"), after.get("name")
        if names[0] != names[1]:
            return f"{title} {names[0]} {ARROW} {names[1]}"
        old, new = ({**content, **content.get("options", {})} for content in (before, after))
        return f"{title}: " + ", ".join(
            f"{name} {_short(old.get(name))} {ARROW} {_short(new.get(name))}"
            for name in {**old, **new}
            if name != "options" and old.get(name) != new.get(name)
        )
    if isinstance(before, list) and isinstance(after, list):
        return f"{title} {len(before)} {ARROW} {len(after)} images"
    return f"{title} {_short(before)} {ARROW} {_short(after)}"


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 30 else f"{text[:29]}\u2026"


def longest_ladder(members: Sequence[Member]) -> list[tuple[Member, str]]:
    """The longest series of members of which each changes one setting of the one before, with the change in words.

    A step leads to a member that was trained later, and another seed alone makes none, so no score is looked at.
    Empty without any step.
    """
    inside = sorted(members, key=lambda member: (str(member.status.get("finished", "")), member.name))
    length, back = [1] * len(inside), [(0, "")] * len(inside)
    for later, member in enumerate(inside):
        for earlier, other in enumerate(inside[:later]):
            if length[earlier] < length[later] or member.facts.classes != other.facts.classes:
                continue
            found = changes(other.settings, member.settings)
            if found is not None and len(found) == 1 and member.settings.seed == other.settings.seed:
                length[later], back[later] = length[earlier] + 1, (earlier, found[0])
    if max(length, default=1) < 2:
        return []
    at, rungs = int(np.argmax(length)), list[tuple[Member, str]]()
    while length[at] > 1:
        rungs.append((inside[at], back[at][1]))
        at = back[at][0]
    return [(inside[at], ""), *rungs[::-1]][:LONGEST]


def ladder(material: Material, progress: Progress = no_progress) -> tuple[pd.DataFrame, bool]:
    """Rows for ``ladder_figure``, and whether every step changes one setting.

    Without two members that differ in one setting only, the members stand in order of their score, and no gain
    between them is told. The explained ensemble comes last, beside the best of its members (from its verdict).
    """
    rungs = longest_ladder(material.members)
    shown = rungs or [(member, "") for member in material.members[:LONGEST][::-1]]
    rows: list[dict[str, Any]] = []
    for place, (member, change) in enumerate(shown):
        before = shown[place - 1][0] if rungs and place else None
        rows.append(_row(material, member.name, change, _gain(before, member)))
        progress("comparing steps", place + 1, len(shown))
    if material.featured is not None:
        rows.append(_ensemble_row(material, material.featured))
    return pd.DataFrame(rows), bool(rungs)


def _gain(before: Member | None, after: Member) -> tuple[float, float, float]:
    """Paired difference in mIoU with its limits; NaN where there is nothing to compare."""
    if before is None:
        return np.nan, np.nan, np.nan
    try:
        (found,) = compare_runs([after.path, before.path]).of()
    except EnsError:  # other images, or too few groups of them
        return np.nan, np.nan, np.nan
    return found.estimate.difference, found.estimate.low, found.estimate.high


def _row(material: Material, name: str, change: str, limits: Sequence[float]) -> dict[str, Any]:
    scores = {key: material.row(name).get(key) for key in ("kind", "miou", "miou_low", "miou_high")}
    return {
        "name": material.short[name],
        "change": change,
        **scores,
        **dict(zip(("gain", "gain_low", "gain_high"), limits, strict=True)),
    }


def _ensemble_row(material: Material, ensemble: Ensemble) -> dict[str, Any]:
    verdict = ensemble.scores.get("verdict", {})
    found = verdict.get("differences", {}).get("method - member", {})
    limits = [np.nan if found.get(key) is None else float(found[key]) for key in ("difference", "low", "high")]
    against = verdict.get("best_member")
    change = f"against {material.short[against]}" if against else ""
    return _row(material, ensemble.name, change, limits)

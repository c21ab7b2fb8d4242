"""Find the steps of an ablation: members that each change one setting of the previous one, with the gain of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ensemble.comparison import compare_runs
from ensemble.config import MemberSettings
from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.core.units import size_name
from ensemble.report.report_data import ReportData
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.member import Member

MOST_STEPS = 16  # more steps cannot be read
MACHINE = {"device", "precision", "threads"}  # settings that do not count as a step
ARROW = "\u2192"
LONGEST_VALUE = 30  # characters


def changes(before: MemberSettings, after: MemberSettings) -> list[str] | None:
    """Describe how the settings of two members differ; None if one was imported, because its training is unknown.

    Different epochs do not count if they were measured from the same time budget.

    >>> from ensemble.config import Component
    >>> settings = MemberSettings(architecture=Component(name="unet"), loss=Component(name="ce"))
    >>> changes(settings, settings.model_copy(update={"loss": Component(name="dice"), "epochs": 9}))
    ['loss ce \u2192 dice', 'epochs none \u2192 9']
    """
    one, other = before.model_dump(mode="json"), after.model_dump(mode="json")
    if before.trained_elsewhere or after.trained_elsewhere:
        return None
    for content in (one, other):
        content["background"] = content.pop("data")["background"]
    same_budget = one["budget_seconds"] == other["budget_seconds"] is not None
    ignored = MACHINE | ({"epochs"} if same_budget else set())
    order = [key for key in (*MemberSettings.COUNTED, "background") if key in one and key not in ignored]
    return [_in_words(key, one[key], other[key]) for key in order if one[key] != other[key]]


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
    if key in ("crop", "input_size"):
        before, after = (None if size is None else size_name(tuple(size)) for size in (before, after))
    elif isinstance(before, list) and isinstance(after, list):
        return f"{title} {len(before)} {ARROW} {len(after)} images"
    return f"{title} {_short(before)} {ARROW} {_short(after)}"


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}\u2026"


def longest_ladder(members: Sequence[Member]) -> list[tuple[Member, str]]:
    """Return the longest series of members that each change one setting of the previous one, with the changes in words.

    A step leads to a member that was trained later; scores play no role. A different seed is not a step. The result is
    empty if no two members differ in one setting.
    """
    ordered = sorted(members, key=lambda member: (str(member.status.get("finished", "")), member.name))
    length, back = [1] * len(ordered), [(0, "")] * len(ordered)
    for later, member in enumerate(ordered):
        for earlier, other in enumerate(ordered[:later]):
            if length[earlier] < length[later] or member.facts.classes != other.facts.classes:
                continue
            changed = changes(other.settings, member.settings)
            if changed is not None and len(changed) == 1 and member.settings.seed == other.settings.seed:
                length[later], back[later] = length[earlier] + 1, (earlier, changed[0])
    if max(length, default=1) < 2:
        return []
    at, steps = int(np.argmax(length)), list[tuple[Member, str]]()
    while length[at] > 1:
        steps.append((ordered[at], back[at][1]))
        at = back[at][0]
    return [(ordered[at], ""), *steps[::-1]][:MOST_STEPS]


def ladder(data: ReportData, progress: Progress = no_progress) -> tuple[pd.DataFrame, bool]:
    """Return rows for ``ladder_figure``, and whether every step changes one setting.

    If no two members differ in exactly one setting, the members are ordered by their score and have no gains. The
    featured ensemble comes last, compared with the best of its members (from its verdict).
    """
    steps = longest_ladder(data.members)
    shown = steps or [(member, "") for member in data.members[:MOST_STEPS][::-1]]
    rows: list[dict[str, Any]] = []
    for place, (member, change) in enumerate(shown):
        before = shown[place - 1][0] if steps and place else None
        rows.append(_row(data, member.name, change, _gain(before, member)))
        progress("comparing steps", place + 1, len(shown))
    if data.featured is not None:
        rows.append(_ensemble_row(data, data.featured))
    return pd.DataFrame(rows), bool(steps)


def _gain(before: Member | None, after: Member) -> tuple[float, float, float]:
    """Return the paired difference in mIoU with its limits, or NaN if the two cannot be compared."""
    if before is None:
        return np.nan, np.nan, np.nan
    try:
        (pair,) = compare_runs([after.path, before.path]).of()
    except EnsError:  # They were scored on other images, or on too few groups.
        return np.nan, np.nan, np.nan
    return pair.estimate.difference, pair.estimate.low, pair.estimate.high


def _row(data: ReportData, name: str, change: str, limits: Sequence[float]) -> dict[str, Any]:
    scores = {key: data.row(name).get(key) for key in ("kind", "miou", "miou_low", "miou_high")}
    gains = dict(zip(("gain", "gain_low", "gain_high"), limits, strict=True))
    return {"name": data.short[name], "change": change, **scores, **gains}


def _ensemble_row(data: ReportData, ensemble: Ensemble) -> dict[str, Any]:
    verdict = ensemble.scores.get("verdict", {})
    difference = verdict.get("differences", {}).get("method - member", {})
    limits = [np.nan if difference.get(key) is None else difference[key] for key in ("difference", "low", "high")]
    best_member = verdict.get("best_member")
    change = f"against {data.short[best_member]}" if best_member else ""
    return _row(data, ensemble.name, change, limits)

"""Write the question of a report and its answer in three sentences, from verdicts and intervals."""

from __future__ import annotations

import math
from typing import Any

from ensemble.core.formatting import counted
from ensemble.evaluation.caveats import too_few_groups
from ensemble.report.report_data import ReportData
from ensemble.results import Ties
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.looks import with_looks


def question_and_answer(data: ReportData, tied: Ties) -> tuple[str, str]:
    """Return a question in one sentence and its answer in two or three."""
    row, scores = data.row(data.best.name), data.best.scores
    where = (
        f"on {row['data']} ({counted(scores['images'], 'image')} in {counted(scores['groups'], 'independent group')})"
    )
    if data.featured is not None:
        return _of_ensemble(data, data.featured, where)
    members = data.members
    if len(members) == 1:
        question = f"How good is {members[0].name} {where}?"
        return question, f"It reaches {_score(row)}. Train another network, then combine the two with ens combine."
    question = f"Which of {len(members)} networks is best {where}?"
    hint = "Combine them with ens combine to find out whether they are better together."
    return question, f"{_of_members(data, tied)} {hint}"


def _of_ensemble(data: ReportData, ensemble: Ensemble, where: str) -> tuple[str, str]:
    verdict, count = ensemble.scores["verdict"], len(ensemble.settings.members)
    is_average = verdict["method"] == "average"
    what = f"the average of {count} networks" if is_average else f"'{verdict['method']}' of {count} networks"
    answer = too_few_groups(ensemble.scores["groups"]) or str(verdict["advice"])
    if is_average:  # The advice on any other method is long enough.
        answer += f" The average reaches {_score(data.row(ensemble.name))}."
    answer = with_looks(answer, ensemble.path, ensemble.settings)
    return f"Is {what} better than a single network {where}?", answer


def _of_members(data: ReportData, tied: Ties) -> str:
    """Return which member scores highest, and whether its lead over the others is significant."""
    best, others = data.members[0], len(data.members) - 1
    first = f"{best.name} scores highest with {_score(data.row(best.name))}"
    if reason := too_few_groups(data.best.scores["groups"]):
        return f"{first}. {reason}"
    if "miou" not in tied.tested or tied.problems:
        return f"{first}. These images do not show whether it is better than the others."
    level = int(tied.marks["miou"].to_numpy(bool).sum())
    if not level:
        return f"{first}, significantly more than {'the other' if others == 1 else f'each of the {others} others'}."
    rivals = "the other one" if others == 1 else f"{level} of the {others} others"
    return f"{first}, but its lead over {rivals} is not significant (95 % for all comparisons together)."


def facts(data: ReportData) -> tuple[str, ...]:
    """Return what the scores are based on, in a few words each."""
    scores = data.best.scores
    counts = {"member": len(data.members), "ensemble": len(data.ensembles)}
    runs = [f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items() if count]
    return ", ".join(runs), f"{scores['images']:,} images in {scores['groups']:,} groups", str(scores["protocol"])


def _score(row: dict[str, Any]) -> str:
    score, low, high = (100 * float(row.get(key, math.nan)) for key in ("miou", "miou_low", "miou_high"))
    return f"{score:.1f} % mIoU" + ("" if math.isnan(low) else f" (95 % interval {low:.1f} to {high:.1f})")

"""The question of a report and its answer, in three sentences made of verdicts and intervals."""

from __future__ import annotations

import math
from typing import Any

from ensemble.report.report_data import Material
from ensemble.results import Ties
from ensemble.runs.ensemble_dir import Ensemble


def question_and_answer(material: Material, tied: Ties) -> tuple[str, str]:
    """A question in one sentence, and its answer in two."""
    row = material.row(material.best.name)
    where = f"on {row['data']}"
    if material.featured is not None:
        return _of_ensemble(material, material.featured, where)
    members = material.members
    if len(members) == 1:
        question = f"How good is {members[0].name} {where}?"
        return question, f"It reaches {_score(row)}. Train another network and combine the two with ens combine."
    question = f"Which of {len(members)} networks is best {where}?"
    return (
        question,
        f"{_of_members(material, tied)} Combine them with ens combine to learn whether they are better together.",
    )


def _of_ensemble(material: Material, ensemble: Ensemble, where: str) -> tuple[str, str]:
    verdict, count = ensemble.scores["verdict"], len(ensemble.settings.members)
    average = verdict["method"] == "average"
    what = f"the average of {count} networks" if average else f"'{verdict['method']}' of {count} networks"
    answer = str(verdict["advice"])
    if average:  # other methods are compared with the average in a sentence of its own
        answer += f" The average reaches {_score(material.row(ensemble.name))}."
    return f"Is {what} better than one of them alone {where}?", answer


def _of_members(material: Material, tied: Ties) -> str:
    """Which member is best, and how many the images cannot tell from it."""
    best, others = material.members[0], len(material.members) - 1
    first = f"{best.name} scores highest with {_score(material.row(best.name))}"
    if "miou" not in tied.tested or tied.problems:
        return f"{first}; whether it is better than the others these images cannot tell."
    level = int(tied.marks["miou"].to_numpy(bool).sum())
    if not level:
        return f"{first}, significantly more than {'the other' if others == 1 else f'each of the {others} others'}."
    tied_with = "the other" if others == 1 else f"{level} of the {others} others"
    return f"{first}, but these images cannot tell {tied_with} from it (95 % for all comparisons)."


def facts(material: Material) -> tuple[str, ...]:
    """What the scores rest on, in a few words each."""
    scores = material.best.scores
    count = len(material.members), len(material.ensembles)
    runs = [f"{n} {what}{'s' if n > 1 else ''}" for n, what in zip(count, ("member", "ensemble"), strict=True) if n]
    return ", ".join(runs), f"{scores['images']:,} images in {scores['groups']:,} groups", str(scores["protocol"])


def _score(row: dict[str, Any]) -> str:
    score, low, high = (float(row.get(key, math.nan)) * 100 for key in ("miou", "miou_low", "miou_high"))
    return f"{score:.1f} % mIoU" + ("" if math.isnan(low) else f" (95 % interval {low:.1f} to {high:.1f})")

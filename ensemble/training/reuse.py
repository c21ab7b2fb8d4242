"""Members that need not be trained again: twins, which differ in test-time augmentation alone, and in threads alone."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

from ensemble.core.errors import EnsError
from ensemble.core.files import atomic, write_json
from ensemble.inference.tta import VIEWS
from ensemble.runs.layout import HISTORY, is_run, weights_name
from ensemble.runs.member import Member
from ensemble.runs.status import is_complete
from ensemble.training.plan import Plan


def find_same_weights(plan: Plan) -> Member | None:
    """A finished member beside that of ``plan`` which differs in test-time augmentation alone.

    Training never predicts with test-time augmentation, so the two have the same weights. One whose files are damaged
    is none.
    """
    for tta in VIEWS:
        settings = plan.settings.model_copy(update={"tta": tta})
        path = plan.path.with_name(settings.directory_name(plan.facts.data_hash + plan.facts.split_hash))
        if tta == plan.settings.tta or not is_run(path):
            continue
        try:
            member = Member.open(path)
            member.check(weights_name(fold) for fold in range(len(plan.split.validation)))
        except EnsError:
            continue
        if member.settings.content_hash() == settings.content_hash():  # six digits of a name may be those of another
            return member
    return None


def find_trained(plan: Plan) -> Member | None:
    """The finished member of ``plan``, or else one beside it that differs in the number of threads alone.

    Threads change the order of sums, hence bits and the name of a member, but nothing that anybody chose; in the
    deterministic mode bits are what was asked for, so there they count. One whose files are damaged is none.
    """
    settings, facts = plan.settings, plan.facts
    wanted = settings.content_hash(facts.data_hash, facts.split_hash)
    kind = plan.path.name.rpartition("-")[0]  # without the hash
    others = [] if settings.deterministic else sorted(plan.path.parent.glob(f"{kind}-*"))
    for path in (plan.path, *others):
        try:
            if not is_complete(path):
                continue
            member = Member.open(path)
        except EnsError:
            continue
        alike = member.settings.model_copy(update={"threads": settings.threads})
        if alike.content_hash(member.facts.data_hash, member.facts.split_hash) == wanted:
            return member
    return None


def copy_weights(twin: Member, fold: int, weights: Path, history: Path) -> None:
    """Copy what a fold of the twin has learnt: its weights to ``weights``, its rows of the history to ``history``.

    Raises:
        EnsError: the disk fills up, or the twin was removed meanwhile.
    """
    with (twin.path / HISTORY).open(newline="") as stream:
        rows = [{name: _number(text) for name, text in row.items()} for row in csv.DictReader(stream)]
    write_json(history, [row for row in rows if row["fold"] == fold])
    with atomic(weights) as target, (twin.path / weights.name).open("rb") as source:
        shutil.copyfileobj(source, target)


def _number(text: str) -> Any:
    """A cell of the history as it was before it was written: repeating it gives the same text."""
    if not text:
        return None
    return int(text) if text.isdecimal() else float(text)

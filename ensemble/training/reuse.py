"""Step 1 of training: find finished members that need not be trained again, or whose weights can be copied."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

from ensemble.core.errors import EnsError
from ensemble.core.files import atomic, write_json
from ensemble.core.reading import guard
from ensemble.inference.tta import VIEWS
from ensemble.runs.layout import HISTORY, is_run, weights_name
from ensemble.runs.member import Member
from ensemble.runs.status import is_complete
from ensemble.training.plan import Plan
from ensemble.training.trainer import FoldJob


def find_same_weights(plan: Plan) -> Member | None:
    """Return a finished member in the same folder that holds the weights of ``plan``, or None.

    It differs only in test-time augmentation, which training never uses. Members with damaged files are ignored.
    """
    settings = plan.settings
    for tta in VIEWS:
        other = plan.like(tta=tta)
        if other.settings == settings or not is_run(other.path):
            continue
        try:
            member = Member.open(other.path)
            member.check(weights_name(fold) for fold in range(len(plan.split.validation)))
        except EnsError:
            continue
        if member.settings.content_hash() == other.settings.content_hash():  # names hold only six digits
            return member
    return None


def find_trained(plan: Plan) -> Member | None:
    """Return the finished member of ``plan``, or one in the same folder that differs only in the number of threads.

    The number of threads changes the order of sums, and so the bits and the name of a member, but no user chooses it.
    In deterministic mode the user chose equal bits, so there the numbers must be equal. Members with damaged
    files are ignored.

    Returns:
        The member, or None if nothing was trained with these settings.
    """
    settings, facts = plan.settings, plan.facts
    wanted = settings.content_hash(facts.data_hash, facts.split_hash)
    kind = plan.path.name.rpartition("-")[0]  # the name without its hash
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


def copy_weights(member: Member, job: FoldJob, weights: Path, history: Path) -> None:
    """Copy what a finished member holds of a fold: weights to ``weights``, the history to ``history``.

    Raises:
        EnsError: the disk is full, or the member has been removed meanwhile.
    """
    with guard(member.path / HISTORY, "CSV", "train it again"), (member.path / HISTORY).open(newline="") as stream:
        rows = [{name: _number(text) for name, text in row.items()} for row in csv.DictReader(stream)]
    write_json(history, [row for row in rows if row["fold"] == job.fold])
    with atomic(weights) as target, (member.path / weights_name(job.fold)).open("rb") as stream:
        shutil.copyfileobj(stream, target)


def _number(text: str) -> Any:
    """Return a cell of the history as the number that it was written from."""
    if not text:
        return None
    return int(text) if text.isdecimal() else float(text)

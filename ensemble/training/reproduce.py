"""Train a finished member again from its configuration and compare the two, bit by bit."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ensemble.core.errors import EnsError
from ensemble.core.files import check_folder
from ensemble.core.progress import Progress, no_progress
from ensemble.core.registry import IMPORTED
from ensemble.runs.layout import members_folder, weights_name
from ensemble.runs.member import Member
from ensemble.training.plan import Plan
from ensemble.training.plan_again import plan_of
from ensemble.training.same_bits import Reproduction, compare
from ensemble.training.train import train_member


def reproduce(
    member: str | Path,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    progress: Progress = no_progress,
) -> Reproduction:
    """Train a finished member again from its configuration and compare the two members.

    Device, precision, threads and optimiser come from the configuration, even if this machine would choose others.

    Args:
        member: directory of the member; it is not changed.
        data: new location of its data, if they moved.
        out: folder that keeps the repetition, which can be resumed; None uses a temporary folder.
        progress: callback that receives the progress.

    Raises:
        EnsError: the member is unfinished or imported, its data are missing or have changed, its device does not
            exist here, or ``out`` holds the member itself.
    """
    then = Member.open(Path(member))
    if then.settings.refit_of:
        raise EnsError(
            f"{then.name} is a refit, which cannot be reproduced; reproduce its twin {then.settings.refit_of}, and"
            " refit that one"
        )
    if then.settings.architecture.origin != IMPORTED:
        then.check(weights_name(fold) for fold in range(then.settings.data.folds or 1))
    if out is None and then.settings.processes > 1:
        raise EnsError(
            f"{then.name} was trained by {then.settings.processes} processes, which need a common folder; pass one"
            " as out"
        )
    with _folder(out) as folder:
        plan = _plan_elsewhere(then, folder, data, progress)
        now = train_member(plan, progress)
        reproduction = compare(then, now, progress)
    return replace(reproduction, path=None if out is None else now.path)


@contextmanager
def _folder(out: str | Path | None) -> Generator[Path]:
    if out is not None:
        yield Path(out)
        return
    folder = tempfile.mkdtemp(prefix="ens-reproduce-")
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _plan_elsewhere(member: Member, out: Path, data: str | Path | None, progress: Progress) -> Plan:
    """Return the plan of a finished member with another folder; see `reproduce`."""
    plan = plan_of(member, data, progress)
    path = members_folder(out) / plan.settings.directory_name(plan.facts.data_hash + plan.facts.split_hash)
    if path.resolve() == member.path.resolve():
        raise EnsError(f"{out} is the folder of {member.name} itself; choose another output folder")
    check_folder(path)
    return replace(plan, path=path)

"""Bring members and ensembles to the images they share, and score them there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ensemble.config import MemberSettings
from ensemble.core.errors import EnsError
from ensemble.core.formatting import iou_title
from ensemble.core.progress import Progress, no_progress
from ensemble.evaluation.caveats import few_holders
from ensemble.evaluation.confusion import Floats, iou_per_class, with_mean, with_mean_of
from ensemble.evaluation.paired import Draws, SampledScores
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.layout import is_run, sibling_member
from ensemble.runs.member import Member
from ensemble.runs.status import read_status
from ensemble.runs.tables import read_tables

MIOU = "mIoU"
OBJECTS = "object F1"


@dataclass(frozen=True, eq=False)
class Run:
    """A finished member or ensemble as a comparison sees it.

    Attributes:
        name: its name.
        path: its directory.
        data: data set, its hash and the hash of the split.
        classes: scored classes, in the order of the matrices' rows.
        background: the class of the id 0, if it is scored.
        ids: images, in the order of the matrices.
        groups: group of each image.
        confusions_nkp: confusion matrix of each image.
        selected: whether an epoch of the member, or of a member of the ensemble, was chosen on these images.
        settings: settings of a member; None for an ensemble.
        members: names of the members of an ensemble.
        objects_nk4: counts of objects of all sizes of each image and class; None for a run of an older version.
    """

    name: str
    path: Path
    data: tuple[str, str, str]
    classes: tuple[str, ...]
    background: str | None
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    confusions_nkp: NDArray[np.int64]
    selected: bool = False
    settings: MemberSettings | None = None
    members: tuple[str, ...] = ()
    objects_nk4: NDArray[np.int64] | None = None


def open_run(path: Path) -> Run:
    """Open a member or an ensemble for a comparison.

    Raises:
        EnsError: the path is neither of them, it is not finished or damaged, or the members of an ensemble, which hold
            the ids of its images, are gone.
    """
    names: tuple[str, ...] = ()
    if read_status(path).get("kind") == "ensemble":
        names = Ensemble.open(path).settings.members
        places = [sibling_member(path, name) for name in names]
        tables, members = read_tables(path), [Member.open(place) for place in places if is_run(place)]
    else:
        members, tables = [Member.open(path)], read_tables(path)
    facts = members[0].facts
    return Run(
        name=path.name,
        path=path,
        data=(facts.name, facts.data_hash, facts.split_hash),
        classes=tables.classes,
        background=tables.classes[tables.values.index(0)] if 0 in tables.values else None,
        ids=tuple(tables.ids),
        groups=tuple(tables.groups),
        confusions_nkp=tables.confusions_nkk,
        selected=any(bool(member.scores.get("selected")) for member in members),
        settings=None if names else members[0].settings,
        members=names,
        objects_nk4=tables.tables["objects"].sum(2) if "objects" in tables.tables else None,
    )


def open_runs(paths: Sequence[str | Path], progress: Progress = no_progress) -> list[Run]:
    """Open members and ensembles; see :func:`open_run`."""
    runs: list[Run] = []
    for path in paths:
        runs.append(open_run(Path(path)))
        progress("reading runs", len(runs), len(paths))
    return runs


@dataclass(frozen=True, eq=False)
class Shared:
    """Runs on the images they share, in one order, with the classes that all of them score.

    The last column of the matrices counts labelled pixels that a run predicts as a class which other runs do not score.

    Attributes:
        runs: the runs.
        names: their names, or their paths if two runs have the same name.
        classes: shared classes.
        groups: group of each shared image.
        confusions_nrkp: matrices (images, runs, classes, classes + 1).
        objects_nrk4: counts of objects (images, runs, classes, 4); None if a run has none, or if runs score different
            classes, because void then cuts their objects in different places.
    """

    runs: tuple[Run, ...]
    names: tuple[str, ...]
    classes: tuple[str, ...]
    groups: tuple[str, ...]
    confusions_nrkp: NDArray[np.int64]
    objects_nrk4: NDArray[np.int64] | None = None

    @cached_property
    def common_k(self) -> NDArray[np.bool_] | None:
        """Whether many groups hold each class; None if that is so for all classes, or for none."""
        common_k = ~np.array(few_holders(self.confusions_nrkp[:, 0], self.groups))
        return common_k if common_k.any() and not common_k.all() else None

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the scores: mIoU, each class (see `iou_title`), mIoU without the classes that few groups hold."""
        rare = [] if self.common_k is None else [self.classes[k] for k in np.flatnonzero(~self.common_k)]
        without = [f"{MIOU} without {', '.join(rare)}"] if rare else []
        scores, classes = {MIOU, *without, *self.object_columns}, set(self.classes)
        return (MIOU, *(iou_title(name, scores | classes - {name}) for name in self.classes), *without)

    @property
    def whole_rc(self) -> Floats:
        """Scores of each run on all images, in the order of ``columns``."""
        iou_rk = iou_per_class(self.confusions_nrkp.sum(0))
        return with_mean(iou_rk) if self.common_k is None else with_mean_of(iou_rk, self.common_k)

    def scores(self, resamples: int, progress: Progress = no_progress) -> tuple[SampledScores, ...]:
        """Score each run on the same resamples of the groups, in the order of ``columns``.

        Raises:
            EnsError: fewer than two groups, or fewer than one resample.
        """
        draws, scores = Draws.of(self.groups, resamples=resamples), list[SampledScores]()
        for confusions_nkp in np.moveaxis(self.confusions_nrkp, 1, 0):
            scores.append(draws.iou(confusions_nkp, self.common_k))
            progress("resampling", len(scores), len(self.runs))
        return tuple(scores)

    @property
    def object_columns(self) -> tuple[str, ...]:
        """Names of the scores of objects on the last axis: their mean F1, then that of each class."""
        return (OBJECTS, *(f"{OBJECTS} of {name}" for name in self.classes))

    def object_scores(self, resamples: int) -> tuple[SampledScores, ...]:
        """Score the objects of each run as `scores` does, in the order of ``object_columns``; empty without objects.

        Raises:
            EnsError: fewer than two groups, or fewer than one resample.
        """
        if self.objects_nrk4 is None:
            return ()
        draws = Draws.of(self.groups, resamples=resamples)
        return tuple(draws.objects(counts_nk4) for counts_nk4 in np.moveaxis(self.objects_nrk4, 1, 0))

    def left_out_grc(self) -> Floats:
        """Return the scores with each group left out (groups, runs, scores).

        Raises:
            EnsError: fewer than two groups.
        """
        return np.stack([scores.left_out_gc for scores in self.scores(resamples=1)], axis=1)


def line_up(runs: Sequence[Run]) -> Shared:
    """Bring runs to the same images and classes.

    Only a background (id 0) may be scored by some runs and not by others. Its pixels are then void for all runs, and a
    pixel of another class that a run predicts as background counts as missed.

    Raises:
        EnsError: runs of different data, splits or classes (both are named), a run given twice, or no image in common.
    """
    first = runs[0]
    for place, run in enumerate(runs):
        if run.path.resolve() in {other.path.resolve() for other in runs[:place]}:
            raise EnsError(f"{run.name} was given twice; name each run once")
        for what, mine, theirs in zip(("data", "split"), run.data[1:], first.data[1:], strict=True):
            if mine != theirs:
                raise EnsError(
                    f"{first.name} and {run.name} were scored on different {what} ({first.data[0]}, {run.data[0]});"
                    " compare runs of the same data, folds, validation share and split seed"
                )
    classes = tuple(name for name in first.classes if all(name in run.classes for run in runs))
    for run in runs:
        if extra := [name for name in run.classes if name not in classes and name != run.background]:
            other = next(other for other in runs if extra[0] not in other.classes)
            raise EnsError(
                f"{run.name} scores the class '{extra[0]}', but {other.name} does not; compare runs of the same classes"
            )
    common = set(first.ids).intersection(*(run.ids for run in runs))
    if not common:
        raise EnsError(f"{' and '.join(run.name for run in runs)} share no image; compare runs of the same images")
    ids = [name for name in first.ids if name in common]
    group_of = dict(zip(first.ids, first.groups, strict=True))
    confusions_nrkp = np.stack([_matrices(run, ids, classes) for run in runs], axis=1)
    repeated = len({run.name for run in runs}) < len(runs)
    names = tuple(str(run.path) if repeated else run.name for run in runs)
    groups = tuple(group_of[name] for name in ids)
    return Shared(tuple(runs), names, classes, groups, confusions_nrkp, _objects(runs, ids, classes))


def _objects(runs: Sequence[Run], ids: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64] | None:
    """Return the counts of objects of some images (images, runs, classes, 4); None if they cannot be compared."""
    counts: list[NDArray[np.int64]] = []
    for run in runs:
        if run.objects_nk4 is None or set(run.classes) != set(classes):
            return None
        row_of = {name: row for row, name in enumerate(run.ids)}
        of_images = run.objects_nk4[[row_of[name] for name in ids]]
        counts.append(of_images[:, [run.classes.index(name) for name in classes]])
    return np.stack(counts, axis=1)


def _matrices(run: Run, ids: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
    """Return the matrices of some images and classes; the last column counts predictions of all other classes."""
    row_of = {name: row for row, name in enumerate(run.ids)}
    all_nkp = run.confusions_nkp[[row_of[name] for name in ids]]
    rows = [run.classes.index(name) for name in classes]
    kept_nkk = all_nkp[:, rows][:, :, rows]
    other_nk = all_nkp[:, rows].sum(-1) - kept_nkk.sum(-1)
    return np.concatenate([kept_nkk, other_nk[..., None]], axis=-1)

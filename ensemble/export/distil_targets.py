"""What a student is taught, fold by fold: the pooled probabilities of its teachers, kept on disk while it trains."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.alignment import Aligned, shared_classes
from ensemble.combining.combiner import Combiner
from ensemble.combining.fit_data import FIT_PIXELS, FitData, gather_fit_data
from ensemble.combining.pipeline import Pipeline
from ensemble.combining.pool import Pool
from ensemble.combining.registry import title
from ensemble.combining.serialization import read_pool
from ensemble.core.files import digest
from ensemble.core.progress import Progress, no_progress
from ensemble.core.threads import one_blas_thread
from ensemble.data import Dataset
from ensemble.data.soft_targets import SoftTargets
from ensemble.data.unlabelled import UnlabelledImages, with_unlabelled
from ensemble.data.windows import TrainingImages
from ensemble.export.distil_teachers import Part, Teacher
from ensemble.inference.member_network import MemberNetwork
from ensemble.inference.network import load_network
from ensemble.inference.pooled_networks import PooledNetworks
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.layout import targets_folder, weights_name
from ensemble.runs.member import Member
from ensemble.runs.store import encode
from ensemble.training.plan import Plan

UNLABELLED = "unlabelled"


@dataclass(frozen=True, eq=False)
class Curriculum:
    """Everything that a student is taught: ``curriculum(fold, images)`` are the images of a fold with their targets.

    The pool is fitted again for each fold, to the teachers of its training images. So no weight and no temperature
    knows a label of the images that the student is scored on.

    Attributes:
        plan: plan of the student.
        ensemble: the ensemble.
        members: the members that it uses, with the plans that they were trained by.
        folds: the parts of the training images of each fold.
        unlabelled: images without labels; the members' own networks of a fold predict them, which have not seen the
            images that are scored.
        progress: callback that receives the progress.
    """

    plan: Plan
    ensemble: Ensemble
    members: Sequence[tuple[Member, Plan]]
    folds: Sequence[Sequence[Part]]
    unlabelled: UnlabelledImages
    progress: Progress = no_progress

    @cached_property
    def dataset(self) -> Dataset:
        """The data set with the unlabelled images behind the labelled ones."""
        return with_unlabelled(self.plan.dataset, self.unlabelled)

    def __call__(self, fold: int, images: TrainingImages) -> TrainingImages:
        """Return the training images of a fold with what teaches them, which is written before the first batch."""
        taught, total = self.plan.settings.taught, len(self.plan.dataset.ids)
        assert taught is not None, "a student is taught"
        key = digest(self.plan.settings.content_hash(self.plan.facts.data_hash), str(fold))
        more = range(total, total + len(self.unlabelled.ids))
        folder = targets_folder(self.plan.path, fold)
        soft = SoftTargets(
            folder, key, self.dataset.sizes, more, taught.unlabelled_share, lambda: self.write(fold, soft)
        )
        return replace(images, dataset=self.dataset, soft=soft)

    # ------------------------------------------------------------ writing

    def write(self, fold: int, soft: SoftTargets) -> None:
        """Write what is missing of the targets of a fold, and delete those of other folds."""
        if soft.folder.parent.is_dir():
            for other in soft.folder.parent.iterdir():
                if other != soft.folder:
                    shutil.rmtree(other, ignore_errors=True)
        wanted = {int(row) for row in self.plan.training_rows(fold)} | set(soft.unlabelled)
        missing = {row for row in wanted if not soft.has(row)}
        if not missing:
            return
        parts = [(part, self.aligned(part)) for part in self.folds[fold]]
        pool, written = self.fit(fold, [aligned for _, aligned in parts]), len(wanted) - len(missing)
        for row, codes_hwk in self._coded(fold, parts, pool, missing):
            soft.write(row, codes_hwk)
            written += 1
            self.progress("writing targets", written, len(wanted))

    def aligned(self, part: Part) -> Aligned:
        """Return what the teachers of all members predict for a part."""
        classes, channels = shared_classes([member for member, _ in self.members], self.ensemble.classes)
        teachers = [Teacher(member, plan, part.held_out) for member, plan in self.members]
        stores = tuple(teacher.store(part.place) for teacher in teachers)
        return Aligned(tuple(member.name for member, _ in self.members), stores, classes, channels)

    def fit(self, fold: int, parts: Sequence[Aligned]) -> Combiner:
        """Return the pool of a fold, fitted to the teachers of its training images; given weights stay."""
        settings = self.ensemble.settings
        if settings.method == "weighted":
            pool = cast(Pool, read_pool(self.ensemble))
            names = list(settings.members)
            pool = pool.only([names.index(member.name) for member, _ in self.members])
            return replace(pool, temperatures_m=np.ones(len(self.members)), temperature=1.0)
        pipeline = Pipeline(title(settings.method, settings.options), settings.calibrate)
        known_n = np.zeros(len(self.plan.dataset.ids), bool)
        known_n[self.plan.training_rows(fold)] = True
        row_of = {name: row for row, name in enumerate(self.plan.dataset.ids)}
        gathered = list[FitData]()
        learned = [known_n[[row_of[name] for name in aligned.ids]] for aligned in parts]
        used = [(aligned, taken_n) for aligned, taken_n in zip(parts, learned, strict=True) if taken_n.any()]
        for aligned, taken_n in used:
            found = gather_fit_data(aligned, self.progress, neighbourhood=pipeline.neighbourhood)
            gathered.append(found.of_images(taken_n).thin(max(1, FIT_PIXELS // len(used))))
        with one_blas_thread():
            return pipeline.fit(joined(gathered, [aligned.groups for aligned, _ in used]))

    def _coded(
        self, fold: int, parts: Sequence[tuple[Part, Aligned]], pool: Combiner, missing: set[int]
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield the rows that are missing, and their codes (h, w, k)."""
        for part, aligned in parts:
            rows = part.rows.tolist()
            held = list[NDArray[np.uint8]]()
            for batch in aligned.images([place for place, row in enumerate(rows) if row in missing], halo=pool.reach):
                held.append(encode(batch.cut(pool(batch.probs_mnchw)))[0])
                if batch.strip is None or batch.strip.top + held[-1].shape[1] == batch.strip.height:
                    yield rows[batch.rows.start], _pixels(held)
                    held.clear()
        if any(row >= len(self.plan.dataset.ids) for row in missing):  # all, because rounding depends on the batch
            yield from self._unlabelled(fold, pool)

    def _unlabelled(self, fold: int, pool: Combiner) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield all unlabelled images, predicted by the members' networks of the fold."""
        classes, channels = shared_classes([member for member, _ in self.members], self.ensemble.classes)
        assert len(classes) == len(self.plan.facts.classes), "the student has the classes of the ensemble"
        networks = PooledNetworks(
            [_of_fold(member, fold, chosen) for (member, _), chosen in zip(self.members, channels, strict=True)], pool
        )
        read, first, held = self.unlabelled.read, len(self.plan.dataset.ids), list[NDArray[np.uint8]]()
        for piece in networks.pieces(self.unlabelled.sizes, lambda each: np.stack([read(number) for number in each])):
            codes_nkhw = encode(piece.probs_nkhw)
            if piece.strip is None:
                for number, codes in zip(piece.numbers, codes_nkhw, strict=True):
                    yield first + number, _pixels([codes])
                continue
            held.append(codes_nkhw[0])
            if piece.strip.top + codes_nkhw.shape[2] == piece.strip.height:
                yield first + piece.numbers.start, _pixels(held)
                held.clear()


def _pixels(strips: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return codes (h, w, k) from strips (k, rows, w)."""
    return np.ascontiguousarray(np.moveaxis(np.concatenate(strips, axis=1), 0, -1))


def _of_fold(member: Member, fold: int, channels: Sequence[int]) -> MemberNetwork:
    """Return a member with the network of one fold alone."""
    name, settings = weights_name(fold), member.settings
    member.check([name])
    network = load_network(settings, member.facts, member.path / name, settings.device)
    key = digest(member.fingerprint, str(fold))
    return MemberNetwork((network,), settings, member.facts, settings.device, channels, key=key)


def joined(parts: Sequence[FitData], groups: Sequence[Sequence[str]]) -> FitData:
    """Return the pixels of several sets of images as one.

    Args:
        parts: pixels of each set.
        groups: group of each image of each set.
    """
    starts = np.cumsum([0, *map(len, groups)])
    names = np.asarray([name for each in groups for name in each])
    near = [part.near_mcp for part in parts if part.near_mcp is not None]
    return FitData(
        np.concatenate([part.probs_mcp for part in parts], axis=2),
        np.concatenate([part.image_p + np.int32(start) for part, start in zip(parts, starts[:-1], strict=True)]),
        np.concatenate([part.labels_p for part in parts]),
        np.unique(names, return_inverse=True)[1].astype(np.intp),
        np.concatenate(near, axis=2) if near else None,
    )

"""Teachers of a student: networks of an ensemble's members, trained again without the images that they predict.

A student is scored fold by fold. So what teaches its network of a fold must know neither the image that it predicts nor
any image of that fold. A network of a cross-validated member has seen all folds but one. Therefore each member is
trained again without two folds, once for every pair: that network predicts either fold for the student that is scored
on the other one. With a hold-out, or with two folds, the training images are cut into parts instead, and each member is
trained again without the validation images and one part.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations, groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.files import digest
from ensemble.core.locks import locked
from ensemble.core.progress import Progress
from ensemble.data import Split, check_classes, group_folds
from ensemble.data.rarest import rarest_class_per_image
from ensemble.inference.hardware import torch_threads
from ensemble.inference.member_network import MemberNetwork
from ensemble.inference.network import load_network
from ensemble.inference.pooled_networks import PooledNetworks
from ensemble.runs.layout import teacher_folder, weights_name
from ensemble.runs.member import Member
from ensemble.runs.store import Store, StoreWriter
from ensemble.training.batches import steps_per_epoch
from ensemble.training.checkpoint import save_weights
from ensemble.training.determinism import deterministic
from ensemble.training.loop import train_fold
from ensemble.training.plan import Plan

VERSION = "1"  # of how teachers are trained; what another one has kept is not read


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Images that teachers have not seen.

    Attributes:
        rows: rows that they do not learn from.
        predicted: those of them that they predict, part by part.
    """

    rows: NDArray[np.int64]
    predicted: tuple[NDArray[np.int64], ...]


@dataclass(frozen=True, eq=False)
class Part:
    """Training images of a fold of the student, with the teachers that predict them: part ``place`` of ``held_out``."""

    held_out: HeldOut
    place: int

    @property
    def rows(self) -> NDArray[np.int64]:
        """Rows of the images."""
        return self.held_out.predicted[self.place]


def parts_of_folds(plan: Plan, inner_folds: int) -> list[list[Part]]:
    """Return for each fold of a student the parts of its training images.

    The teachers of a part have seen neither it nor the validation images of the fold.

    Args:
        plan: plan of the student.
        inner_folds: number of parts with a hold-out, or with two folds.

    Raises:
        EnsError: the training images have fewer groups than parts.
    """
    folds = plan.split.validation
    if len(folds) > 2:
        pairs = {
            frozenset(pair): HeldOut(np.union1d(folds[pair[0]], folds[pair[1]]), (folds[pair[0]], folds[pair[1]]))
            for pair in combinations(range(len(folds)), 2)
        }
        others = [[other for other in range(len(folds)) if other != fold] for fold in range(len(folds))]
        return [
            [Part(pairs[frozenset((fold, other))], int(other > fold)) for other in others[fold]]
            for fold in range(len(folds))
        ]
    return [_inner_parts(plan, fold, inner_folds) for fold in range(len(folds))]


def _inner_parts(plan: Plan, fold: int, inner_folds: int) -> list[Part]:
    """Return the parts of the training images of a fold; no group of images is in two of them."""
    rows, counts_nk = plan.split.training(fold), plan.dataset.foreground_nk
    groups = [plan.groups[row] for row in rows]
    if (found := len(set(groups))) < inner_folds:
        raise EnsError(
            f"expected at least {inner_folds} groups of training images, a group for each of the inner folds, got"
            f" {found}; give inner_folds up to {found}"
        )
    strata_n = rarest_class_per_image(counts_nk[rows])
    part_n = group_folds(groups, strata_n, inner_folds, plan.settings.data.split_seed, counts_nk[rows])
    parts = [rows[part_n == part] for part in range(inner_folds)]
    return [Part(HeldOut(np.union1d(plan.split.validation[fold], part), (part,)), 0) for part in parts if len(part)]


@dataclass(frozen=True, eq=False)
class Teacher:
    """A member that is trained again without some images.

    Attributes:
        member: the member.
        plan: the plan that it was trained by.
        held_out: the images.
    """

    member: Member
    plan: Plan
    held_out: HeldOut

    @property
    def folder(self) -> Path:
        """Folder of its predictions."""
        return teacher_folder(self.member.path, self._key[:12])

    @property
    def _key(self) -> str:
        ids = ["\n".join(self.plan.dataset.ids[row] for row in rows) for rows in self._sets]
        return digest(VERSION, self.member.fingerprint, *ids)

    @property
    def _sets(self) -> list[NDArray[np.int64]]:
        return [self.held_out.rows, *self.held_out.predicted]

    def store(self, place: int) -> Store:
        """Open the probabilities of a part.

        Raises:
            EnsError: they are missing, damaged or those of other images.
        """
        store = Store.open(self.folder / f"part-{place}")
        if store.meta.get("key") != self._key:
            raise EnsError(f"{store.path} holds other predictions than its name says; delete {self.folder}")
        return store

    @property
    def is_finished(self) -> bool:
        """Whether it has predicted all parts."""
        for place in range(len(self.held_out.predicted)):
            try:
                self.store(place)
            except EnsError:
                return False
        return True

    def teach(self, progress: Progress) -> None:
        """Train the network, or go on with that, and keep what it predicts for the images that it has not seen.

        Raises:
            EnsError: training fails, or the disk is full.
        """
        settings = self.plan.settings
        with (
            locked(self.folder),
            torch_threads(settings.threads),
            deterministic(settings.deterministic, settings.device),
        ):
            if self.is_finished:  # the process that held the lock before has finished it
                return
            plan, weights = self.training_plan(), self.folder / weights_name(0)
            job = plan.job(0, self._epochs(plan))
            if not weights.is_file():
                save_weights(weights, train_fold(job, progress, lambda _: None))
            network = load_network(plan.settings, plan.facts, weights, settings.device)
            member = MemberNetwork((network,), plan.settings, plan.facts, settings.device, key=digest(self._key))
            for place in range(len(self.held_out.predicted)):
                self._predict(place, PooledNetworks.of_one(member), progress)
            for file in (weights, job.checkpoint):
                with suppress(OSError):
                    file.unlink(missing_ok=True)

    def training_plan(self) -> Plan:
        """Return the plan that it is trained by: that of the member, with the images set aside as those of a vault are.

        Raises:
            EnsError: a class would have no labelled pixel left.
        """
        split = self.plan.split
        aside = np.union1d(split.vault, self.held_out.rows)
        without = Split((np.zeros(0, np.int64),), split.total, split.split_hash, aside)
        settings = self.plan.settings
        data = settings.data.model_copy(update={"folds": None})
        settings = settings.model_copy(update={"keep": "last", "processes": 1, "data": data})
        plan = replace(self.plan, settings=settings, split=without, path=self.folder)
        counts_nk = np.zeros_like(plan.dataset.counts_nk)
        rows = plan.training_rows(0)
        counts_nk[rows] = plan.dataset.counts_nk[rows]
        try:
            check_classes(without, counts_nk, plan.dataset.classes)
        except EnsError as error:
            raise EnsError(
                f"a teacher trained without {len(self.held_out.rows)} of {split.total} images would lack a class"
                f" ({error}); distil an ensemble whose members have more folds, or use other inner_folds"
            ) from None
        return plan

    def _epochs(self, plan: Plan) -> int:
        """Return the epochs with about as many steps as a network of the member has had."""
        settings = self.plan.settings
        assert settings.epochs is not None, "a finished member knows its epochs"
        steps, most = settings.epochs * self.plan.job(0, settings.epochs).steps, settings.epoch_steps
        return max(1, round(steps / steps_per_epoch(len(plan.training(0).shown), settings.batch_size, most)))

    def _predict(self, place: int, networks: PooledNetworks, progress: Progress) -> None:
        dataset, rows = self.plan.dataset, self.held_out.predicted[place].tolist()
        sizes, ids = [dataset.sizes[row] for row in rows], [dataset.ids[row] for row in rows]
        meta = {"split": "teachers", "split_hash": self.plan.split.split_hash, "data_hash": dataset.data_hash}
        meta["key"] = self._key
        each = networks.pieces(sizes, lambda numbers: dataset.images(rows[numbers.start : numbers.stop]), progress)
        with StoreWriter(self.folder / f"part-{place}", classes=self.plan.facts.classes, meta=meta, ids=ids) as writer:
            for numbers, pieces in groupby(each, key=lambda piece: piece.numbers):
                some = rows[numbers.start : numbers.stop]
                writer.append_parts(
                    [dataset.ids[row] for row in some],
                    sizes[numbers.start],
                    (piece.probs_nkhw for piece in pieces),
                    dataset.labels(some),
                    groups=[self.plan.groups[row] for row in some],
                )
                progress("predicting", numbers.stop, len(rows))


def teachers_of(members: Sequence[tuple[Member, Plan]], folds: Sequence[Sequence[Part]]) -> list[Teacher]:
    """Return every teacher once: of each member, without each set of images."""
    sets = {id(part.held_out): part.held_out for parts in folds for part in parts}
    return [Teacher(member, plan, held_out) for held_out in sets.values() for member, plan in members]

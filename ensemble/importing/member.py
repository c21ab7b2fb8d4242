"""Writing an imported member: its probabilities, scores and confusions, whole or not at all."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.config import FORMAT_VERSION, DataSettings
from ensemble.core.errors import EnsError
from ensemble.core.files import atomic, file_digest, sync_folder, write_bytes, write_json
from ensemble.core.progress import Progress, no_progress
from ensemble.core.registry import IMPORTED
from ensemble.evaluation.scores import Tally
from ensemble.importing.plan import UNKNOWN, Chosen, ImportPlan, plan_import
from ensemble.runs.member import CHECKED, Member
from ensemble.runs.store import open_writer

BATCH = 32


@dataclass(frozen=True)
class Imported:
    """What :func:`import_member` returns: the member, how it was read, and whether it was there already."""

    member: Member
    plan: ImportPlan
    new: bool


def import_member(
    predictions: str | Path,
    *,
    name: str,
    data: str | Path | DataSettings = "sample",
    like: str | Path | None = None,
    split: str = "val",
    ids: str | Path | None = None,
    test: str | Path | None = None,
    test_ids: str | Path | None = None,
    channels: str | None = None,
    logits: bool = False,
    arch: str = IMPORTED,
    loss: str = UNKNOWN,
    runs: str | Path = "runs",
    progress: Progress = no_progress,
) -> Imported:
    """Make a member of predictions that any tool made of the validation images (hold-out or out-of-fold).

    The images are those of a split: with settings as ``data`` the one that training with these makes; else that of
    ``like``; else that of the newest member of these data in ``runs``; else training's own default. Every image of it
    must be there, more are ignored. The member has no network: it can be listed, combined and explained, not predict.

    Class maps become one-hot: the map's class gets what the store makes of 1 (0.99999 for four classes), every other
    3.1e-6, so that a wrong pixel costs 12.7 nats.

    Args:
        predictions: npz, npy, zarr, or a folder with a file per image; see
            :func:`ensemble.importing.readers.open_predictions`.
        name: name of the member; six digits of a hash of the content follow.
        data: the labelled data, as for training; settings of them with their split.
        like: member whose data settings and split are taken, by name, unique beginning or path.
        split: ``val``, the images that members are scored on; there is no other.
        ids: CSV that says which images these are; see :func:`ensemble.importing.image_ids.image_ids`.
        test: predictions of the test images, to be kept beside.
        test_ids: CSV for ``test``.
        channels: ``scored`` or ``all``, checked against the number of channels; see
            :func:`ensemble.importing.conversion.choose_reading`.
        logits: the numbers are logits; not needed where the array is called so.
        arch: what the results table calls the architecture.
        loss: what the results table calls the loss.
        runs: folder for runs.
        progress: callback that receives the progress.

    Raises:
        EnsError: any mistake in the arguments, files or numbers, in one sentence; nothing is left behind.
    """
    start = time.perf_counter()
    plan = plan_import(
        Path(predictions),
        name,
        data if isinstance(data, DataSettings) else str(data),
        like=None if like is None else str(like),
        split=split,
        ids=None if ids is None else Path(ids),
        test=None if test is None else Path(test),
        test_ids=None if test_ids is None else Path(test_ids),
        channels=channels,
        logits=logits,
        arch=arch,
        loss=loss,
        runs=Path(runs),
        progress=progress,
    )
    if plan.path.exists():
        return Imported(Member.open(plan.path), plan, new=False)
    unfinished = plan.path.with_name(f".{plan.path.name}.tmp")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)  # of a killed process
        _write(plan, unfinished, start, progress)
        unfinished.rename(plan.path)
        sync_folder(plan.path.parent)
    except OSError as error:
        raise EnsError(f"cannot write {plan.path}: {error.strerror or error}; choose another --runs") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return Imported(Member.open(plan.path), plan, new=True)


def _write(plan: ImportPlan, path: Path, start: float, progress: Progress) -> None:
    """All files of the member; the status comes last."""
    versions = {"format_version": FORMAT_VERSION, "kind": "member"}
    content = {"settings": plan.settings.model_dump(mode="json"), "data": plan.facts.model_dump(mode="json")}
    write_json(path / "config.json", versions | content | {"imported": _provenance(plan)})
    tally = _write_validation(plan, path, progress)
    if plan.test is not None:
        _write_test(plan, plan.test, path, progress)
    scores = tally.scores(plan.target.groups, plan.facts.classes, plan.facts.keras_ignored)
    scores["selected"] = None  # nobody knows whether an epoch was chosen on these images
    scores["protocol"] = "out-of-fold" if plan.settings.data.folds else "hold-out"
    write_json(path / "scores.json", scores)
    with atomic(path / "confusions.npz") as stream:
        np.savez_compressed(stream, allow_pickle=False, **tally.arrays())
    write_bytes(path / "history.csv", b"fold,epoch,train_loss\n")  # the training was elsewhere: no epochs
    files = {file: file_digest(path / file) for file in CHECKED}
    ending = {"finished": datetime.now(UTC).isoformat(), "seconds": time.perf_counter() - start, "files": files}
    write_json(path / "status.json", versions | {"state": "complete"} | ending)


def _provenance(plan: ImportPlan) -> dict[str, Any]:
    def one(chosen: Chosen) -> dict[str, Any]:
        found, reading = chosen.predictions, chosen.reading
        content = {"file": found.path.name, "form": found.form, "array": found.key, "kind": reading.kind}
        return content | {"channels": list(reading.ids), "images": len(chosen.order), "ignored": chosen.ignored}

    parts = {"validation": one(plan.validation)} | ({"test": one(plan.test)} if plan.test else {})
    return parts | {"digest": plan.digest, "split_of": plan.target.like}


def _write_validation(plan: ImportPlan, path: Path, progress: Progress) -> Tally:
    """Store and score the validation predictions batch by batch."""
    target, tally = plan.target, Tally(len(plan.facts.classes))
    row_of = {name: row for row, name in enumerate(target.dataset.ids)}
    with open_writer(path, plan.facts, "validation", target.ids) as writer:
        for part, probs, winners in _batches(plan.validation, target.ids, progress):
            labels = target.dataset.labels([row_of[name] for name in target.ids[part]])
            tally.add(probs, labels, raw_predictions_nhw=winners)
            writer.append(target.ids[part], probs, labels, groups=target.groups[part])
    return tally


def _write_test(plan: ImportPlan, chosen: Chosen, path: Path, progress: Progress) -> None:
    ids = plan.target.dataset.test_ids
    with open_writer(path, plan.facts, "test", ids) as writer:
        for part, probs, _ in _batches(chosen, ids, progress):
            writer.append(ids[part], probs)


def _batches(
    chosen: Chosen, ids: Sequence[str], progress: Progress
) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.intp] | None]]:
    """Slices of ``ids`` with their probabilities and winners (see ``Reading.probabilities``)."""
    for start in range(0, len(ids), BATCH):
        part = slice(start, min(start + BATCH, len(ids)))
        numbers = chosen.order[part]
        # Ascending, since going back in a compressed array means unpacking it from its beginning.
        read = {number: chosen.predictions.read(number) for number in sorted(numbers)}
        yield part, *chosen.reading.probabilities([read[number] for number in numbers], ids[part])
        progress(f"importing {chosen.predictions.path.name}", part.stop, len(ids))

"""Import a member: plan it, then write its probabilities, scores and confusions, all of them or nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.config import DataSettings, slug
from ensemble.core.errors import EnsError
from ensemble.core.files import write_bytes
from ensemble.core.locks import whole_folder
from ensemble.core.progress import Progress, no_progress
from ensemble.core.registry import IMPORTED
from ensemble.evaluation.tally import Tally
from ensemble.importing.conversion import Conversion
from ensemble.importing.import_plan import (
    NETWORK_FILES,
    UNKNOWN,
    ImportPlan,
    LinedUp,
    Source,
    choose_target,
    plan_import,
)
from ensemble.runs.layout import HISTORY
from ensemble.runs.member import Member
from ensemble.runs.status import finish_run, write_config
from ensemble.runs.store import Part, open_writer, parts_of

BATCH = 32  # images
BATCH_BYTES = 64 << 20  # of converted numbers

Probabilities = NDArray[np.float32]
Winners = NDArray[np.intp] | None
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Imported:
    """Result of :func:`import_member`: the member, the plan it follows, and whether it is new."""

    member: Member
    plan: ImportPlan
    new: bool


def import_member(
    predictions: str | Path,
    *,
    name: str,
    data: str | Path | DataSettings = "sample",
    like: str | Path | None = None,
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
    """Make a member of predictions that any tool made for the validation images (hold-out or out-of-fold).

    The validation images are those of a split. If ``data`` are settings, it is the split that training with these
    settings makes; else the split of ``like``; else that of the newest member of these data in ``runs``; else the
    default split of training. Every image of the split needs a prediction; predictions of other images are ignored.
    The member has no network: it can be listed, combined and explained, but it cannot predict.

    Predictions have the native pixels of their images, which may differ in size if there is a file per image.

    Class maps become one-hot: the class of the map gets the probability that the store makes of 1 (0.99999 for four
    classes), every other class 3.1e-6, so that a wrong pixel costs 12.7 nats.

    Args:
        predictions: npz, npy, zarr, or a folder with a file per image; see
            :func:`ensemble.importing.readers.open_predictions`.
        name: name of the member; six digits of a hash of the content are appended.
        data: the labelled data as for training, or settings of the data and their split.
        like: member whose data settings and split are used, by name, unique beginning or path.
        ids: CSV with the image of each prediction; see :func:`ensemble.importing.image_ids.image_ids`.
        test: predictions of the test images, stored as well.
        test_ids: CSV with the image of each prediction in ``test``.
        channels: ``scored`` or ``all``; by default concluded from the number of channels, see
            :func:`ensemble.importing.conversion.choose_conversion`.
        logits: the numbers are logits; not needed if the array is called ``logits``.
        arch: architecture for the results table.
        loss: loss for the results table.
        runs: folder for runs.
        progress: callback that receives the progress.

    Returns:
        The member, with ``new=False`` if the same predictions were imported before.

    Raises:
        EnsError: a mistake in the arguments, files or numbers; nothing is left behind.
    """
    start = time.perf_counter()
    if Path(predictions).suffix.lower() in NETWORK_FILES:
        raise EnsError(f"expected predictions, got the weights {predictions}; import them by import_network, with arch")
    if not slug(name):
        raise EnsError(f"expected a name with letters or digits, got '{name}'; try nnunet")
    if test is None and test_ids is not None:
        raise EnsError("test_ids needs test, the predictions of the test images; add test")
    data = data if isinstance(data, DataSettings) else str(data)
    target = choose_target(data, None if like is None else str(like), Path(runs), progress)
    validation, test_source = (
        None if path is None else Source(Path(path), None if table is None else Path(table), channels, logits)
        for path, table in ((predictions, ids), (test, test_ids))
    )
    assert validation is not None
    plan = plan_import(name, target, validation, test_source, arch=arch, loss=loss, runs=Path(runs))
    if plan.path.exists():
        return Imported(Member.open(plan.path), plan, new=False)
    with whole_folder(plan.path) as unfinished:
        _write(plan, unfinished, start, progress)
    return Imported(Member.open(plan.path), plan, new=True)


def _write(plan: ImportPlan, path: Path, start: float, progress: Progress) -> None:
    """Write all files of the member; the status is the last."""
    content = {"settings": plan.settings.model_dump(mode="json"), "data": plan.facts.model_dump(mode="json")}
    write_config(path, "member", content | {"imported": _provenance(plan)}, plan.path.name)
    tally = _write_validation(plan, path, progress)
    if plan.test is not None:
        _write_test(plan, plan.test, path, progress)
    scores = tally.scores(plan.target.groups, plan.facts.classes, plan.facts.keras_ignored)
    scores["selected"] = None  # it is unknown whether an epoch was selected on these images
    scores["protocol"] = "out-of-fold" if plan.settings.data.folds else "hold-out"
    write_bytes(path / HISTORY, b"fold,epoch,train_loss\n")  # another tool trained it: no epochs are known
    finish_run(path, "member", scores, tally.arrays(), seconds=time.perf_counter() - start)


def _provenance(plan: ImportPlan) -> dict[str, Any]:
    """Return where the probabilities come from, for ``config.json``."""

    def describe(part: LinedUp) -> dict[str, Any]:
        predictions, conversion = part.predictions, part.conversion
        content = {"file": predictions.path.name, "form": predictions.form, "array": predictions.key}
        content |= {"kind": conversion.kind, "channels": list(conversion.ids)}
        return content | {"images": len(part.order), "ignored": part.ignored}

    parts = {"validation": describe(plan.validation)} | ({"test": describe(plan.test)} if plan.test else {})
    return parts | {"digest": plan.digest, "split_of": plan.target.like}


def _write_validation(plan: ImportPlan, path: Path, progress: Progress) -> Tally:
    """Store and score the validation predictions batch by batch."""
    target, tally = plan.target, Tally(len(plan.facts.classes))
    row_of = {name: row for row, name in enumerate(target.dataset.ids)}
    rows = [row_of[name] for name in target.ids]
    sizes = [target.dataset.sizes[row] for row in rows]

    def scored(part: Part, probs: Probabilities, winners: Winners, labels: Labels) -> Probabilities:
        tally.add(probs, labels[:, part.top : part.bottom], raw_predictions_nhw=winners, strip=part.strip)
        return probs

    with open_writer(path, plan.facts, "validation", target.ids) as writer:
        for images, batches in _batches(plan.validation, target.ids, sizes, progress):
            labels = target.dataset.labels([rows[image] for image in images])
            ids, groups = [target.ids[image] for image in images], [target.groups[image] for image in images]
            parts = (scored(*batch, labels) for batch in batches)
            writer.append_parts(ids, sizes[images[0]], parts, labels, groups=groups)
    return tally


def _write_test(plan: ImportPlan, test: LinedUp, path: Path, progress: Progress) -> None:
    dataset = plan.target.dataset
    with open_writer(path, plan.facts, "test", dataset.test_ids) as writer:
        for images, batches in _batches(test, dataset.test_ids, dataset.test_sizes, progress):
            parts = (probs for _, probs, _ in batches)
            writer.append_parts([dataset.test_ids[image] for image in images], dataset.test_sizes[images[0]], parts)


def _batches(
    source: LinedUp, ids: Sequence[str], sizes: Sequence[tuple[int, int]], progress: Progress
) -> Iterator[tuple[Sequence[int], Iterator[tuple[Part, Probabilities, Winners]]]]:
    """Yield the images of a batch, and their parts with probabilities and winners (``Conversion.probabilities``).

    The parts are all images at once, or the strips of one image: converting takes several times its memory.
    """
    pixels = BATCH_BYTES // (4 * len(source.conversion.ids))
    for images, parts in groupby(parts_of(sizes, range(len(ids)), pixels=pixels, most=BATCH), lambda part: part.images):
        names, numbers = [ids[image] for image in images], [source.order[image] for image in images]
        # In ascending order: going back in a compressed array means unpacking it from its beginning.
        read = {number: source.predictions.read(number) for number in sorted(numbers)}
        maps = [read[number] for number in numbers]
        for array, name in zip(maps, names, strict=True):
            source.conversion.check(array, name, sizes[images[0]])
        yield images, ((part, *_converted(source.conversion, maps, names, part)) for part in parts)
        progress(f"importing {source.predictions.path.name}", images[-1] + 1, len(ids))


def _converted(
    conversion: Conversion, maps: Sequence[NDArray[np.generic]], names: Sequence[str], part: Part
) -> tuple[Probabilities, Winners]:
    return conversion.probabilities([array[..., part.top : part.bottom, :] for array in maps], names, part.top)

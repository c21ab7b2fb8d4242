"""Predict images and write class maps to files while they are predicted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ensemble.combining.quality import Quality
from ensemble.config import Decide, DecideFrom
from ensemble.core.data_kinds import IMAGES, check_exists
from ensemble.core.errors import EnsError
from ensemble.core.files import digest
from ensemble.core.formatting import in_percent
from ensemble.core.progress import Progress, no_progress
from ensemble.data.formats.pixels import dark_note
from ensemble.inference.deciding import few_images_note
from ensemble.inference.image_sources import Images, Measured
from ensemble.inference.left_open import LeftOpen
from ensemble.inference.load import load, load_pool
from ensemble.inference.open_images import open_images
from ensemble.inference.output_plan import plan_output, quality_file
from ensemble.inference.predictor import Predictor
from ensemble.inference.promising import promise, thresholds
from ensemble.inference.quality_table import QualityTable, drop_stale_rows, load_quality
from ensemble.inference.stored_images import STORED, StoredImages
from ensemble.inference.uncertainty_maps import INFORMATION
from ensemble.inference.write_predictions import Source, probabilities_of, write_each, write_one, write_tables
from ensemble.runs.folder import find_model
from ensemble.runs.status import read_status

Say = Callable[[str], object]
Report = Callable[[Mapping[str, Any]], object]


def predict(
    model: str | Path,
    images: str | Path,
    out: str | Path,
    *,
    form: str | None = None,
    probabilities: bool = False,
    uncertainty: str | Sequence[str] = (),
    quality: bool = False,
    instances: bool = False,
    tta: str | None = None,
    decide: Decide | None = None,
    decide_from: DecideFrom | None = None,
    max_error: float | None = None,
    coverage: float | None = None,
    device: str = "auto",
    runs: str | Path = "runs",
    progress: Progress = no_progress,
    on_note: Say = str,
    on_outcome: Report = dict,
) -> int:
    """Write class maps of ``images`` to ``out`` and return their number.

    Args:
        model: member or ensemble, by name, unique beginning of its name, or path; or a bundle.
        images: see :func:`~ensemble.inference.open_images.open_images`; or ``stored``: the test images of the members'
            data, from the probabilities (8 bits each) that the members stored in training. A folder of this name is
            ``./stored``, or ``Path("stored")``.
        out: ``FILE.png`` or ``FILE.tif`` for one image, a folder, ``FILE.npz`` or ``FILE.csv``; see
            :func:`predict_to`.
        form: ``png``, ``tif``, ``npz``, ``csv`` or ``rle``; by default the ending of ``out`` decides.
        probabilities: write the probabilities, too.
        uncertainty: maps to write, too: ``entropy`` and ``mutual-information``, see :func:`predict_to`.
        quality: write a table with the estimated IoU of each image and class, see :func:`predict_to`.
        instances: write run lengths per object instead of per class.
        tta: test-time augmentation of every member; None keeps the one that each member was trained with.
        decide: decision instead of the model's own: ``argmax``, ``offsets``, ``expected-iou`` or ``expected-dice``.
        decide_from: images whose expected scores decide: ``validation`` images of the members, or the ``images`` that
            are predicted, which are then predicted twice; by default that of the ensemble, or ``validation``.
        max_error: share of the kept pixels that may be wrong; the least certain pixels become 255, or the next lower id
            if a class has that, so that this holds on average for groups of images like those held out. See
            `ensemble.inference.promising.promise`.
        coverage: write class sets, too, which hold the true class at this share of the pixels of each class, on average
            for groups of images like those held out: in an npz as ``sets`` (n, bytes, h, w), else as ``NAME.sets.tif``
            next to each mask, with a bit per class; see `Predictor.sets`.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        runs: folder of members and ensembles.
        progress: callback that receives the progress.
        on_note: called with each sentence about files that are left out or changed when they are read, about what the
            output cannot keep, and about images that are too dark for the units of the training images.
        on_outcome: called at the end with ``out``, the file or folder that holds the masks (a folder in place of
            ``FILE.npz`` if the images differ in size), and with what ``max_error`` and ``coverage`` led to:
            ``threshold``, ``left_open``
            (the share of the pixels of these images without a class), their ``open_id``; ``set_thresholds`` by class.

    Raises:
        EnsError: the model or the images are missing or do not fit each other, ``form``, the ending of ``out``,
            ``uncertainty`` or ``tta`` is unknown, ``out`` cannot be written or holds files that `ens predict` did not
            write, or a promise cannot be made.
    """
    path = find_model(model, runs)
    if read_status(path).get("state") != "complete":
        raise EnsError(f"{path} is not finished; repeat its train command to resume it")

    predictor, source = _open(path, images, out, tta, decide, decide_from, device)
    for note in (*source.notes, *predictor.notes):
        on_note(note)
    predictor, promised = promise(predictor, path, max_error=max_error, coverage=coverage, progress=progress)
    for note in promised:
        on_note(note)
    count, place = predict_to(
        predictor,
        source,
        Path(out),
        form=form,
        probabilities=probabilities,
        uncertainty=[uncertainty] if isinstance(uncertainty, str) else uncertainty,
        quality=load_quality(predictor, path) if quality else None,
        instances=instances,
        progress=progress,
        on_note=on_note,
        opened=(opened := LeftOpen(predictor.open_id)),
    )
    if predictor.least:
        on_note(f"of the pixels of these images, {in_percent(opened.share)} were left open")
    on_outcome({"out": str(place), **thresholds(predictor, None if max_error is None else opened.share)})
    highest = source.highest if isinstance(source, Measured) else -1
    note = dark_note(highest, predictor.facts.span) if highest >= 0 else None
    if note is not None:  # an image was read, and all are dark
        on_note(note)
    return count


def _open(
    path: Path,
    images: str | Path,
    out: str | Path,
    tta: str | None,
    decide: Decide | None,
    decide_from: DecideFrom | None,
    device: str,
) -> tuple[Predictor, Measured | StoredImages]:
    """Return the model and the images; the word ``stored`` needs no networks."""
    if images == STORED:
        if tta is not None:
            raise EnsError(f"'{STORED}' probabilities have the views of each member's training; leave tta out")
        predictor = load_pool(path, None, decide, decide_from)
        return predictor, StoredImages.of(predictor.members, predictor.classes)
    if images != "sample":
        check_exists(Path(images).expanduser(), (*IMAGES, f"'{STORED}' (the test images of the members' data)"))
    source = Measured(open_images(images, Path(out)))
    from ensemble.inference.hardware import choose_hardware  # noqa: PLC0415  (torch takes two seconds)

    return load(path, choose_hardware(device).device, tta, decide=decide, decide_from=decide_from), source


def predict_to(
    predictor: Predictor,
    images: Images,
    out: Path,
    *,
    form: str | None = None,
    probabilities: bool = False,
    uncertainty: Sequence[str] = (),
    quality: Quality | None = None,
    instances: bool = False,
    progress: Progress = no_progress,
    on_note: Say = str,
    opened: LeftOpen | None = None,
) -> tuple[int, Path]:
    """Write the class maps of all images; return their number and the file or folder that holds them.

    In a folder each image has its file, which is written as soon as the image is predicted. Files that the same model
    wrote for the same images are kept, so a repeated command goes on. One npz or csv appears when it is complete. A
    large image is predicted from disk to disk, see `ensemble.inference.large_files`.

    Args:
        predictor: a member or an ensemble, ready to predict.
        images: the images, in the order of the output.
        out: ``FILE.png`` or ``FILE.tif`` (one image), ``FILE.npz`` (``ids``, ``classes``, ``masks``, and
            ``probabilities`` if requested), ``FILE.csv`` (``id`` and the pixels of the mask, row after row) or a folder
            of indexed PNG files with a palette.
        form: ``png``, ``tif``, ``npz``, ``csv`` or ``rle`` (``FILE.csv`` with the columns ``id``, ``class`` and
            ``rle``); by default the ending of ``out`` decides.
        probabilities: add the probabilities (n, classes, h, w) as float32 to an npz, or write
            ``NAME.probabilities.tif`` next to each mask: a band of uint16 per class, 65535 is 1.
        uncertainty: add maps (n, h, w) of these kinds as float32 to an npz, or write ``NAME.KIND.tif`` next to each
            mask: ``entropy`` of the pooled probabilities, from 0 to log(classes), and ``mutual-information`` of the
            members (their disagreement), from 0 to log(min(members, classes)); in nats, which are natural logarithms.
            The keys of an npz are ``entropy`` and ``mutual_information``.
        quality: estimate the IoU of each image and class, with a 90 % interval, and write it to ``quality.csv`` in the
            folder, or to ``NAME.quality.csv`` next to the one file. See `ensemble.evaluation.quality.fit_quality`.
        instances: run lengths per object, not per class.
        progress: callback that receives the progress.
        on_note: called with each sentence about what is converted or cannot be kept.
        opened: counts the pixels that are left open, if the predictor leaves any.

    Raises:
        EnsError: see :func:`~ensemble.inference.output_plan.plan_output`; or an image is damaged.
    """
    more: dict[str, Any] = {"probabilities": probabilities, "uncertainty": uncertainty, "instances": instances}
    plan = plan_output(predictor, images, out, form=form, quality=quality is not None, **more)
    for note in plan.notes:
        on_note(note)
    if predictor.decide_from == "images":
        if note := few_images_note(len(images.ids)):
            on_note(note)
        predictor = predictor.decided_by(probabilities_of(predictor, images, progress))
    older = quality_file(plan.place).exists() and not plan.quality
    marked = quality is not None or older or (plan.masks is not None and plan.form != "csv")
    origins = [digest(predictor.digest, images.digest(row)) for row in range(len(images.ids))] if marked else []
    table = QualityTable(quality, predictor, list(zip(images.ids, origins, strict=True))) if quality else None
    if older and drop_stale_rows(quality_file(plan.place), dict(zip(images.ids, origins, strict=True))):
        on_note(f"{quality_file(plan.place).name} no longer holds estimates of masks that are replaced")
    opened = opened if predictor.least else None
    together = plan.masks is None or plan.form == "csv"
    source = Source(predictor, images, INFORMATION in plan.uncertainty, table, progress, opened if together else None)
    if plan.masks is None:
        write_one(source, plan, on_note)
    elif plan.form == "csv":
        write_tables(source, plan)
    else:
        write_each(source, plan, origins, on_note)
        if opened:
            for file in plan.masks:  # those that were there already, too
                opened.read(file)
    for note in table.notes() if table else ():
        on_note(note)
    return len(images.ids), plan.place

"""Predict class maps and write them to a folder of PNG files, an npz or a csv while they are predicted."""

from __future__ import annotations

import csv
import io
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ensemble.core.errors import EnsError
from ensemble.core.files import atomic, check_names
from ensemble.core.palette import class_colours
from ensemble.core.progress import Progress, no_progress
from ensemble.core.temporary import temporary_file
from ensemble.data.formats.pixels import dark_note
from ensemble.inference.image_sources import Images, Measured, open_images
from ensemble.inference.predictor import Predictor, load, predict_batches
from ensemble.inference.replaceable import ARCHIVE_MARK, check_replaceable, mask_mark
from ensemble.runs.folder import find_run
from ensemble.runs.status import read_status


def predict(
    model: str | Path,
    images: str | Path,
    out: str | Path,
    *,
    probabilities: bool = False,
    tta: str | None = None,
    device: str = "auto",
    runs: str | Path = "runs",
    progress: Progress = no_progress,
    on_note: Callable[[str], object] = str,
) -> int:
    """Write class maps of ``images`` to ``out`` and return their number.

    Args:
        model: member or ensemble, by name, unique beginning of its name, or path.
        images: see :func:`~ensemble.inference.image_sources.open_images`.
        out: a folder for PNG files, ``FILE.npz`` or ``FILE.csv``; see :func:`predict_to`.
        probabilities: add the probabilities (npz only).
        tta: test-time augmentation of every member; None keeps the one that each member was trained with.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        runs: folder of members and ensembles.
        progress: callback that receives the progress.
        on_note: called with each sentence about files that are left out or changed when they are read, and about
            images that are too dark for the units of the training images.

    Raises:
        EnsError: the model or the images are missing, the ending of ``out`` or ``tta`` is unknown, or ``out`` cannot
            be written or holds files that `ens predict` did not write.
    """
    path = find_run(model, runs)
    if read_status(path).get("state") != "complete":
        raise EnsError(f"{path} is not finished; repeat its train command to resume it")

    source = Measured(open_images(images))
    for note in source.notes:
        on_note(note)
    from ensemble.inference.hardware import choose_hardware  # noqa: PLC0415  (torch takes two seconds)

    predictor = load(path, choose_hardware(device).device, tta)
    count = predict_to(predictor, source, Path(out), probabilities=probabilities, progress=progress)
    if (note := dark_note(source.highest, predictor.facts.span)) is not None:
        on_note(note)
    return count


def predict_to(
    predictor: Predictor, images: Images, out: Path, *, probabilities: bool = False, progress: Progress = no_progress
) -> int:
    """Write the class maps of all images and return their number.

    Args:
        predictor: a member or an ensemble, ready to predict.
        images: the images, in the order of the output.
        out: ``FILE.npz`` (``ids``, ``classes``, ``masks``, and ``probabilities`` if requested), ``FILE.csv`` (``id``
            and the pixels of the mask, row after row) or a folder of indexed PNG files with a palette.
        probabilities: add the probabilities (n, classes, h, w) as float32; npz only.
        progress: callback that receives the progress.

    Raises:
        EnsError: ``out`` has another ending, cannot be written or holds files that `ens predict` did not write, or
            images of different sizes go to npz or csv.
    """
    suffix = out.suffix.lower()
    if suffix not in ("", ".npz", ".csv"):
        raise EnsError(f"expected an output that ends in .npz or .csv, or a folder, got {out}")
    if probabilities and suffix != ".npz":
        raise EnsError(f"expected an npz file as output for probabilities, got {out}; PNG and csv hold masks only")
    check_names(out)
    check_replaceable(out)
    batches = predict_batches(predictor, images, progress)
    if suffix == ".npz":
        _write_npz(predictor, images, batches, out, probabilities)
    elif suffix == ".csv":
        _write_csv(predictor, batches, out)
    else:
        _write_folder(predictor, batches, out)
    return len(images.ids)


Batches = Iterator[tuple[list[str], NDArray[np.float32]]]


def _write_folder(predictor: Predictor, batches: Batches, out: Path) -> None:
    palette = class_colours(predictor.values).ravel().tolist()
    for ids, probs in batches:
        for name, mask in zip(ids, predictor.masks(probs), strict=True):
            picture = Image.fromarray(mask)
            picture.putpalette(palette)
            content = io.BytesIO()
            picture.save(content, "PNG", optimize=True, pnginfo=mask_mark(mask))
            with atomic(out / f"{name}.png") as stream:
                stream.write(content.getvalue())


def _write_csv(predictor: Predictor, batches: Batches, out: Path) -> None:
    shape: tuple[int, ...] | None = None
    with atomic(out) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(text, lineterminator="\n")
        for ids, probs in batches:
            masks = predictor.masks(probs)
            if shape is None:
                writer.writerow(["id", *range(masks[0].size)])
            shape = _same_shape(shape, masks.shape[1:], out)
            writer.writerows([name, *mask.ravel().tolist()] for name, mask in zip(ids, masks, strict=True))
        text.detach()


def _write_npz(predictor: Predictor, images: Images, batches: Batches, out: Path, probabilities: bool) -> None:
    """Stream the probabilities into the archive, and the masks through another file there, which is appended last."""
    total, shape = len(images.ids), None
    with (
        atomic(out) as stream,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        temporary_file(out) as (handle, _),
        os.fdopen(handle, "w+b") as held,
    ):
        archive.comment = ARCHIVE_MARK
        with ExitStack() as opened:  # an archive with an open entry cannot be closed, not even after an error
            entry: IO[bytes] | None = None
            for _, probs in batches:
                masks = predictor.masks(probs)
                shape = _same_shape(shape, masks.shape[1:], out)
                if probabilities and entry is None:
                    entry = opened.enter_context(archive.open("probabilities.npy", "w", force_zip64=True))
                    _npy_header(entry, (total, *probs.shape[1:]), np.dtype(np.float32))
                if entry is not None:
                    entry.write(probs.tobytes())
                held.write(masks.tobytes())
        assert shape is not None
        held.seek(0)
        with archive.open("masks.npy", "w", force_zip64=True) as masks_entry:
            _npy_header(masks_entry, (total, *shape), np.dtype(np.uint8))
            while block := held.read(1 << 20):
                masks_entry.write(block)
        for name, array in (("ids", np.array(images.ids)), ("classes", np.array(predictor.classes))):
            with archive.open(f"{name}.npy", "w") as small:
                np.lib.format.write_array(small, array, allow_pickle=False)


def _npy_header(stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_2_0(stream, header)


def _same_shape(known: tuple[int, ...] | None, shape: tuple[int, ...], out: Path) -> tuple[int, ...]:
    if known is not None and known != shape:
        raise EnsError(
            f"expected images of one size for {out.name}, got {known[0]}x{known[1]} and {shape[0]}x{shape[1]};"
            " write a folder of PNG files instead"
        )
    return shape

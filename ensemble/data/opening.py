"""Open a data set: count the classes of its masks, name them, and mark void once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ensemble.config import DataSettings
from ensemble.core.cache import Cache
from ensemble.core.equal_sizes import equal_sizes
from ensemble.core.errors import EnsError
from ensemble.core.files import digest
from ensemble.core.progress import Progress, no_progress
from ensemble.data.dataset import BATCH_BYTES, READING_VERSION, Dataset
from ensemble.data.formats.source import ArraySource, Source
from ensemble.data.open_source import open_source
from ensemble.evaluation.void import VOID

SCAN_BATCH = 256
_NO_SIZE = "None"  # stands in the digest for a setting of version 0.2, so that the names of its members stay


def open_dataset(settings: DataSettings, progress: Progress = no_progress) -> Dataset:
    """Open the data that ``settings`` name: ``sample``, an npz file, a folder, or a description of data.

    Args:
        settings: the data and the meaning of class 0.
        progress: callback that receives the progress of reading masks, which happens once for all time.

    Raises:
        EnsError: when something is wrong with the files, in one sentence.
    """
    source = open_source(settings.source)
    background = settings.background or source.default_background
    counts_ni = _count_ids(source, progress)
    names = _class_names(source.names, counts_ni.sum(0), source.ids, counts_ni)
    held = set(np.flatnonzero(counts_ni.sum(0)).tolist())
    absent = tuple(name for index, name in names.items() if source.written and index not in held)
    names = {index: name for index, name in names.items() if name not in absent}
    written = {index: source.written.get(index, index) for index in names}
    scored = [index for index in names if written[index] != 0 or background == "class"]
    present = np.flatnonzero(counts_ni.sum(0)).tolist()
    if background == "class" and present == [0] and not source.written:
        raise EnsError("all pixels of all masks are 0, so there is nothing to learn; check the masks")
    if not counts_ni[:, scored].sum():
        raise EnsError(
            f"every pixel of every mask is void (255{', and 0 as background' if background != 'class' else ''});"
            " expected labelled pixels: check the masks or background, and write a binary mask as 0 and 1"
        )
    if len(scored) < 2:
        raise EnsError(
            f"expected at least two classes with labels besides void, got {[names[i] for i in scored]}; ids are"
            " 0, 1, 2 ... and 255 is void, so write a binary mask as 0 and 1 and use background class"
        )
    return Dataset(
        name=Path(settings.source).name or Path(settings.source).resolve().name,
        source=source,
        background=background,
        classes=tuple(names[index] for index in scored),
        values=tuple(written[index] for index in scored),
        names={written[index]: name for index, name in names.items()},
        counts_ni=counts_ni,
        data_hash=digest(source.fingerprint, _NO_SIZE),
        absent=absent,
    )


def _count_ids(source: Source, progress: Progress) -> NDArray[np.int64]:
    """Return the pixels per image and id, (n, 256); masks are read in batches, and those of files once for all time."""
    total = len(source.ids)
    cache = None if isinstance(source, ArraySource) else Cache("mask-counts", READING_VERSION, source.fingerprint)
    if cache is not None and (content := cache.read()) is not None and len(content) == total * 256 * 8:
        return np.frombuffer(content, "<i8").reshape(total, 256).astype(np.int64)
    counts = np.zeros((total, 256), np.int64)
    for rows in equal_sizes(source.sizes, SCAN_BATCH, BATCH_BYTES):
        for row, mask in zip(rows, source.masks(rows), strict=True):
            counts[row] = np.bincount(mask.ravel(), minlength=256)
        if cache is not None:
            progress("reading masks", rows.stop, total)
    if cache is not None:
        cache.write(counts.astype("<i8").tobytes())
    return counts


def _class_names(
    names: Mapping[int, str] | None, totals_i: NDArray[np.int64], ids: Sequence[str], counts_ni: NDArray[np.int64]
) -> dict[int, str]:
    """Return the class names by id.

    Raises:
        EnsError: when a mask holds a value without a class; the message names the first such mask.
    """
    present = [int(index) for index in np.flatnonzero(totals_i) if index != VOID]
    if names is None:
        # Without a list the ids are 0, 1, 2 ... without gaps. Only 0 may be missing, because it may stand for void.
        names = {index: f"class {index}" for index in range(len(present) + (0 not in present))}
    for index in present:
        if index not in names:
            image = ids[int(np.flatnonzero(counts_ni[:, index])[0])]
            raise EnsError(
                f"the mask of image {image} holds the value {index}, which is not a class: expected"
                f" {', '.join(f'{i} {name}' for i, name in names.items())} (255 is void); fix the mask, or list"
                " every class in classes.txt (npz: the key 'classes')"
            )
    return dict(names)

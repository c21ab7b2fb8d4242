"""Summarise a data set: the figures that people read before they train."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble.core.files import digest
from ensemble.core.progress import Progress, no_progress
from ensemble.core.threads import in_threads
from ensemble.data.dataset import Dataset
from ensemble.data.describe import size_text
from ensemble.data.groups import image_groups, perceptual_hashes
from ensemble.evaluation.caveats import ENOUGH_GROUPS

ONE_CLASS = 0.9995  # share of one class from which there is hardly anything to learn


@dataclass(frozen=True)
class Summary:
    """Figures of `ens data summary`; every count is of labelled training images."""

    name: str
    images: int
    test_images: int
    bands: int
    sizes: str
    parts: dict[str, int]
    test_labelled: bool
    dtype: str
    background: str
    void_share: float
    all_void_images: int
    groups: int
    groups_given: bool
    near_duplicates: int
    repeated_masks: int
    classes: tuple[str, ...]
    values: tuple[int, ...]
    pixel_shares: tuple[float, ...]
    images_per_class: tuple[int, ...]
    groups_per_class: tuple[int, ...]
    class_weights: tuple[float, ...]
    data_hash: str
    notes: tuple[str, ...]


def summarise(dataset: Dataset, progress: Progress = no_progress) -> Summary:
    """Count classes, void, duplicates and groups, and suggest class weights for ``weighted-ce``."""
    import torch  # noqa: PLC0415

    from ensemble.losses import class_weights  # noqa: PLC0415  (weights live with the losses, and need torch)

    dataset.check_images()
    groups = np.asarray(image_groups(dataset, progress))
    hashes = perceptual_hashes(dataset, progress)
    counts = dataset.counts_nk
    distinct = {text for rows in dataset.batches() for text in in_threads(lambda row: _mask_digest(dataset, row), rows)}
    weights = class_weights(torch.from_numpy(counts.sum(0)), "inverse", 30.0)
    return Summary(
        name=dataset.name,
        images=len(dataset.ids),
        test_images=len(dataset.test_ids),
        bands=dataset.bands,
        sizes=size_text(dataset.sizes),
        parts=dict(sorted(Counter(dataset.parts or ()).items())),
        test_labelled=dataset.has_test_labels,
        dtype=str(dataset.image(0).dtype),
        background=dataset.background,
        void_share=dataset.void_share,
        all_void_images=int((counts.sum(1) == 0).sum()),
        groups=len(np.unique(groups)),
        groups_given=dataset.groups is not None,
        near_duplicates=len(hashes) - len(np.unique(hashes)),
        repeated_masks=len(dataset.ids) - len(distinct),
        classes=dataset.classes,
        values=dataset.values,
        pixel_shares=tuple((counts.sum(0) / max(1, counts.sum())).tolist()),
        images_per_class=tuple((counts > 0).sum(0).tolist()),
        groups_per_class=tuple(len(np.unique(groups[counts[:, k] > 0])) for k in range(counts.shape[1])),
        class_weights=tuple(round(float(weight), 3) for weight in weights),
        data_hash=dataset.data_hash,
        notes=(*dataset.notes, *_absent(dataset), *_suspicious(dataset, groups, len(distinct))),
    )


def _mask_digest(dataset: Dataset, row: int) -> str:
    label = dataset.label(row)
    return digest(str(label.shape), label.tobytes())


def _suspicious(dataset: Dataset, groups: NDArray[np.str_], distinct: int) -> list[str]:
    """Return notes about data that can be read, but hardly are what their owner means."""
    notes: list[str] = []
    shares = dataset.counts_nk.sum(0) / max(1, dataset.counts_nk.sum())
    if shares.max() > ONE_CLASS:
        notes.append(
            f"suspicious: {100 * shares.max():.2f} % of the pixels are {dataset.classes[int(shares.argmax())]}"
        )
    if distinct == 1 and len(dataset.ids) > 1:
        notes.append(f"suspicious: all {len(dataset.ids)} masks are alike")
    number = len(np.unique(groups))
    if number == 1:
        notes.append("suspicious: all images are in one group, so none can be held out")
    elif number < ENOUGH_GROUPS:
        notes.append(f"{number} groups: no interval can be trusted (with {ENOUGH_GROUPS} or more groups it can)")
    return notes


def _absent(dataset: Dataset) -> list[str]:
    """Return a note for each class that no labelled image holds; training refuses such data."""
    absent: list[int] = np.flatnonzero(~dataset.counts_nk.any(0)).tolist()
    return [
        f"no labelled image holds the class '{dataset.classes[k]}' (id {dataset.values[k]}); leave it out"
        + (", or give --background void if ids begin at 1" if dataset.values[k] == 0 else "")
        for k in absent
    ]

"""Summarise a data set: the figures that people read before they train."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ensemble.core.files import digest
from ensemble.core.progress import Progress, no_progress
from ensemble.data.dataset import Dataset
from ensemble.data.groups import image_groups, perceptual_hashes


@dataclass(frozen=True)
class Summary:
    """Figures of `ens data summary`; every count is of labelled training images."""

    name: str
    images: int
    test_images: int
    shape: tuple[int, int, int]
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
    distinct = {digest(mask.data) for rows in dataset.batches() for mask in dataset.labels(rows)}
    weights = class_weights(torch.from_numpy(counts.sum(0)), "inverse", 30.0)
    return Summary(
        name=dataset.name,
        images=len(dataset.ids),
        test_images=len(dataset.test_ids),
        shape=dataset.shape,
        dtype=str(dataset.images([0]).dtype),
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
        notes=(*dataset.notes, *_absent(dataset)),
    )


def _absent(dataset: Dataset) -> list[str]:
    """Return a note for each class that no mask holds; training refuses such data."""
    absent: list[int] = np.flatnonzero(~dataset.counts_nk.any(0)).tolist()
    return [
        f"no mask holds the class '{dataset.classes[k]}' (id {dataset.values[k]}); leave it out"
        + (", or give --background void if ids begin at 1" if dataset.values[k] == 0 else "")
        for k in absent
    ]

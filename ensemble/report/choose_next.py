"""Choose the images to label next: from probabilities that members stored, or by predicting images that are new."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ensemble.combining.alignment import Aligned
from ensemble.combining.label_next import information_per_image, rank_next
from ensemble.combining.quality import information_of
from ensemble.core.errors import EnsError
from ensemble.core.formatting import counted
from ensemble.core.progress import Progress, no_progress
from ensemble.data import Dataset
from ensemble.data.formats.files import FileSource
from ensemble.data.formats.pixels import dark_note
from ensemble.data.groups import alike, copies_of_tests, groups_by_name, groups_of_tests, linked
from ensemble.evaluation.strips import PredictedBatch, shown_maps
from ensemble.inference.disagreement import Look, MemberView, disagreements
from ensemble.inference.image_sources import DescribedFiles, Images
from ensemble.inference.output_plan import check_heads
from ensemble.inference.predictor import Predictor
from ensemble.inference.training_copies import pixel_digests, training_data
from ensemble.report.figures.thumbnails import shrink, stretched

Say = Callable[[str], object]
Map = NDArray[np.float32]
PICTURES = 16  # pictures in memory while near-duplicates are compared


class Chosen(NamedTuple):
    """Images to label next, the best first.

    Attributes:
        ids: their names.
        information: mean mutual information of the members in nats.
        groups: their groups.
        pictures: each image (h, w, 3) in bytes, and the map (h, w) of its mutual information, both shrunk.
        total: number of images that they were chosen from.
    """

    ids: list[str]
    information: list[float]
    groups: list[str]
    pictures: list[tuple[NDArray[Any], Map]]
    total: int


def choose_stored(dataset: Dataset, aligned: Aligned, count: int, progress: Progress = no_progress) -> Chosen:
    """Choose test images by the probabilities that the members stored of them; see `rank_next`."""
    information_n = information_per_image(aligned, progress)
    groups = groups_of_tests(dataset, progress)
    rows = rank_next(information_n, groups, copies_of_tests(dataset, progress), count)

    def maps_of(batch: PredictedBatch) -> tuple[Map]:
        return (batch.cut(information_of(batch.probs_mnchw))[0],)

    shown = shown_maps(aligned.images(sorted(rows)), maps_of)
    maps = dict(zip(sorted(rows), (shrink(map_hw, cv2.INTER_AREA) for (map_hw,) in shown), strict=True))
    pictures = [(stretched(dataset.test_image(row)), maps[row]) for row in rows]
    ids, found = [aligned.ids[row] for row in rows], [groups[row] for row in rows]
    return Chosen(ids, information_n[rows].tolist(), found, pictures, len(aligned.ids))


def choose_new(
    predictor: Predictor, images: Images, count: int, progress: Progress = no_progress, on_note: Say = str
) -> Chosen:
    """Choose images that no member has stored; the members predict each of them once. See `rank_next`.

    Copies of labelled images of the members' data are left out. Groups are found by the pattern of names of the images
    or of the members' data, otherwise near-duplicates share a group.

    Args:
        predictor: the members.
        images: the images.
        count: number of images to choose.
        progress: callback that receives the progress.
        on_note: called with each sentence about images that are left out or changed when they are read.

    Raises:
        EnsError: there are no images, an image does not fit the members, or all are copies of labelled ones.
    """
    if not images.ids:
        raise EnsError("expected images of which the next ones to label are chosen, got none; give at least one")
    heads = [images.head(row) for row in range(len(images.ids))]
    note = check_heads(predictor, images, heads)
    for each in (*images.notes, *([note] if note else [])):
        on_note(each)
    seen, looks = MemberView(images, predictor), list[Look]()
    for row in range(len(heads)):
        looks.append(seen.look(row))
        progress("looking for near-duplicates", row + 1, len(heads))
    if note := dark_note(max(look.highest for look in looks), predictor.facts.span):
        on_note(note)
    labelled, pattern = _of_training(predictor, {(head.height, head.width) for head in heads}, progress, on_note)
    rows = _unlabelled(images.ids, [look.digest in labelled for look in looks], on_note)
    pairs = alike(np.array([look.hash for look in looks], np.uint64), lru_cache(PICTURES)(seen.picture))
    copies = [f"image-{number}" for number in linked(len(heads), pairs).tolist()]
    if isinstance(images, DescribedFiles) and images.description.group_pattern:
        pattern = images.description.group_pattern
    groups = groups_by_name(pattern, images.ids) if pattern else copies
    return _predicted(seen, rows, groups, copies, count, progress)


def _of_training(
    predictor: Predictor, sizes: set[tuple[int, int]], progress: Progress, on_note: Say
) -> tuple[set[str], str | None]:
    """Return what is needed of the members' data, which are then closed.

    These are the digests of the labelled images of some sizes, also of those that were held out of training, and the
    pattern of names that gives groups, if there is one.
    """
    opened, notes = training_data(predictor.members, progress=progress)
    for note in notes:
        on_note(note)
    labelled, patterns = set[str](), list[str]()
    for _, dataset in opened:
        rows = [row for row, size in enumerate(dataset.sizes) if size in sizes]
        labelled |= pixel_digests(dataset, rows, progress)
        if isinstance(dataset.source, FileSource) and dataset.source.description.group_pattern:
            patterns.append(dataset.source.description.group_pattern)
    return labelled, next(iter(patterns), None)


def _unlabelled(ids: Sequence[str], labelled: Sequence[bool], on_note: Say) -> list[int]:
    """Return the images that are no copies of labelled ones, and call ``on_note`` with the names of the others."""
    names = [name for name, known in zip(ids, labelled, strict=True) if known]
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    if len(names) == len(ids):
        raise EnsError(
            f"expected images without labels, but the members' data hold labelled copies of all {len(ids)} ({shown});"
            " give other images"
        )
    if names:
        on_note(f"left out, because the members' data hold labelled copies: {counted(len(names), 'image')} ({shown})")
    return [row for row, known in enumerate(labelled) if not known]


def _predicted(
    seen: MemberView, rows: list[int], groups: Sequence[str], copies: Sequence[str], count: int, progress: Progress
) -> Chosen:
    """Predict some images and choose from them; only the maps of the best ones so far are in memory."""
    images, maps, information_n = seen.images, dict[int, Map](), np.zeros(len(groups))

    def best_of(some: list[int]) -> list[int]:
        order = rank_next(information_n[some], [groups[row] for row in some], [copies[row] for row in some], count)
        return [some[place] for place in order]

    for one in disagreements(seen.predictor, images, progress, set(rows).__contains__):
        information_n[one.row], maps[one.row] = one.mean, shrink(one.map_hw, cv2.INTER_AREA)
        maps = {row: maps[row] for row in best_of(sorted(maps))}
    best = best_of(rows)
    # A map is missing if a near-duplicate in another group had taken the place of its image for a while.
    for one in disagreements(seen.predictor, images, progress, (set(best) - set(maps)).__contains__):
        maps[one.row] = shrink(one.map_hw, cv2.INTER_AREA)
    pictures = [(stretched(seen.picture(row, own_bands=True)), maps[row]) for row in best]
    ids, found = [images.ids[row] for row in best], [groups[row] for row in best]
    return Chosen(ids, information_n[best].tolist(), found, pictures, len(rows))

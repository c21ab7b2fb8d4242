"""Choose the images of a report, and draw each with its photograph and the pictures of its predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.alignment import Aligned, align
from ensemble.combining.combiner import Combiner
from ensemble.combining.pool import Pool
from ensemble.combining.serialization import read_pool
from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.evaluation.confusion import pixel_accuracy
from ensemble.evaluation.strips import shown_maps
from ensemble.report.figures.thumbnails import photograph
from ensemble.report.image_tiles import Tile, maps_of, tiles_of
from ensemble.report.pick_images import rank_images
from ensemble.report.report_data import ReportData
from ensemble.report.same_data import open_same_data
from ensemble.runs.member import Member
from ensemble.runs.tables import read_tables

PER_REASON = 6  # images for each reason
MOST_MEMBERS = 6  # members with a picture for each image
MOST_AVERAGED = 16  # members to average when there is no ensemble
BUDGET = 3_000_000  # characters of all pictures
ON_REQUEST = "chosen by you"


@dataclass(frozen=True)
class ShownImage:
    """An image of the report.

    Attributes:
        id: its id.
        reasons: why the report shows it.
        photograph: the image as base64 of a PNG; empty if the data cannot be opened any more.
        tiles: the pictures of its truth and its predictions.
        ratio: its width over its height.
    """

    id: str
    reasons: tuple[str, ...]
    photograph: str
    tiles: tuple[Tile, ...]
    ratio: float

    @property
    def size(self) -> int:
        """Characters of all its pictures."""
        return len(self.photograph) + sum(len(tile.png) for tile in self.tiles)


@dataclass(frozen=True)
class ImageBrowser:
    """The images of a report.

    Attributes:
        images: the images in the order of the page.
        classes: names of the classes in the order of their colours.
        notes: sentences on all images.
    """

    images: tuple[ShownImage, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """All reasons, each for at least one image."""
        return tuple(dict.fromkeys(reason for image in self.images for reason in image.reasons))


def browse(data: ReportData, requested: Sequence[str] = (), progress: Progress = no_progress) -> ImageBrowser:
    """Choose images and draw them; only the probabilities of these images are read.

    Args:
        data: the runs.
        requested: ids of images to show in addition to those of ``rank_images``.
        progress: callback that receives the progress.

    Raises:
        EnsError: probabilities are missing or damaged, or no scored image has a requested id.
    """
    members, pool, system = _system(data)
    aligned = align(members)
    reasons = _choose(data, members, aligned, requested)
    score_m = np.array([member.scores["miou"] for member in members], np.float64)
    largest = np.lexsort((-score_m, -pool.weights_m))[:MOST_MEMBERS].tolist()
    titles = [data.short[aligned.names[m]] for m in largest]
    photo_of, notes = _photographs(members[0], aligned)
    if len(largest) < len(members):
        notes.append(
            f"Each image shows the predictions of {len(largest)} of {len(members)} members: those with the largest"
            " weights and, for equal weights, the best scores."
        )
    if data.featured is not None:
        notes.append(
            "The pictures of the ensemble show its final version. If it has weights, these were fitted on the shown"
            " images, too. The scores above are cross-fitted."
        )
    drawn: dict[int, ShownImage] = {}
    rows = sorted(reasons)
    shown = shown_maps(aligned.images(rows, pool.reach), lambda batch: maps_of(batch, pool, largest))
    for row, maps_hw in zip(rows, shown, strict=True):
        tiles = tiles_of(maps_hw, aligned.classes, titles, system)
        height, width = aligned.sizes[row]
        drawn[row] = ShownImage(str(aligned.ids[row]), reasons[row], photo_of(row), tiles, width / height)
        progress("drawing images", len(drawn), len(reasons))
    kept = _within_budget([drawn[row] for row in reasons])
    if len(kept) < len(drawn):
        notes.append(f"The report shows {len(kept)} of {len(drawn)} chosen images, to keep the file small.")
    return ImageBrowser(tuple(kept), aligned.classes, tuple(notes))


def _system(data: ReportData) -> tuple[list[Member], Combiner, str]:
    """Return members, how to combine them, and a title; without an ensemble, the average of the best members."""
    ensemble = data.featured
    if ensemble is not None:
        return ensemble.members(), read_pool(ensemble), f"ensemble ({ensemble.settings.method})"
    members = list(data.members[:MOST_AVERAGED])
    pool = Pool.uniform(len(members), len(align(members).classes))
    return members, pool, f"average of {len(members)}" if len(members) > 1 else ""


def _choose(
    data: ReportData, members: Sequence[Member], aligned: Aligned, requested: Sequence[str]
) -> dict[int, tuple[str, ...]]:
    """Return the rows to show with their reasons: the first image of every reason, then the second ones, and so on."""
    rows = {str(name): row for row, name in enumerate(aligned.ids)}
    unknown = next((name for name in requested if name not in rows), None)
    if unknown is not None:
        raise EnsError(
            f"expected the id of an image that the members are scored on, such as {aligned.ids[0]}, got '{unknown}'"
        )
    confusions_mnkk = [_confusions(member.path, aligned) for member in members]
    accuracy_mn = np.stack([np.nan_to_num(pixel_accuracy(confusions_nkk)) for confusions_nkk in confusions_mnkk])
    ranked = rank_images(_confusions(data.best.path, aligned), accuracy_mn)
    by_reason = {ON_REQUEST: [rows[name] for name in requested]}
    by_reason |= {why: each[:PER_REASON].tolist() for why, each in ranked.items()}
    longest = max(map(len, by_reason.values()))
    order = [each[turn] for turn in range(longest) for each in by_reason.values() if turn < len(each)]
    return {row: tuple(why for why, each in by_reason.items() if row in each) for row in dict.fromkeys(order)}


def _confusions(path: Path, aligned: Aligned) -> NDArray[np.int64]:
    """Return the confusion matrices of a run in the order of the images."""
    return read_tables(path).of(aligned.ids).confusions_nkk


def _photographs(member: Member, aligned: Aligned) -> tuple[Callable[[int], str], list[str]]:
    """Return a function from a row to its photograph, and a note if the data have no images any more."""
    dataset, why = open_same_data(member.settings.data, member.facts.data_hash)
    if dataset is None:
        return lambda _: "", [f"The data ({member.facts.name}) {why}, so the report shows the maps without the images."]
    place = {str(name): row for row, name in enumerate(dataset.ids)}
    return lambda row: photograph(dataset.image(place[str(aligned.ids[row])])), []


def _within_budget(images: Sequence[ShownImage]) -> list[ShownImage]:
    """Return the first images whose pictures together stay within the budget, but at least one."""
    sizes = np.cumsum([image.size for image in images])
    return list(images[: max(1, int(np.searchsorted(sizes, BUDGET, side="right")))])

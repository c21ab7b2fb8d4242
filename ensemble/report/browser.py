"""The images of a report: which ones, and each with its photograph and the pictures of what was made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.alignment import Aligned, align, select
from ensemble.combining.combiner import Combiner
from ensemble.combining.pool import Pool
from ensemble.combining.serialization import read_pool
from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress, no_progress
from ensemble.data import VOID, open_dataset
from ensemble.evaluation.confusion import pixel_accuracy
from ensemble.report.pick_images import rank_images
from ensemble.report.pictures import photograph
from ensemble.report.report_data import Material
from ensemble.report.tiles import Tile, tiles_of
from ensemble.runs.member import Member
from ensemble.runs.tables import read_tables

PER_REASON = 6  # images of each reason
MOST_MEMBERS = 6  # with a picture of their own
MOST_AVERAGED = 16  # where there is no ensemble
BUDGET = 3_000_000  # characters of all pictures
CHOSEN = "chosen"


@dataclass(frozen=True)
class FormattedTable:
    """One image: its id, why it is shown, its photograph (base64; empty where the data are gone) and its tiles."""

    id: str
    reasons: tuple[str, ...]
    photograph: str
    tiles: tuple[Tile, ...]

    @property
    def size(self) -> int:
        """Characters of all its pictures."""
        return len(self.photograph) + sum(len(tile.png) for tile in self.tiles)


@dataclass(frozen=True)
class Browser:
    """The images, their width over height, the classes in the order of their colours, and sentences on all of it."""

    images: tuple[FormattedTable, ...]
    ratio: float
    classes: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """All reasons that some image is shown for."""
        return tuple(dict.fromkeys(reason for image in self.images for reason in image.reasons))


def browse(material: Material, chosen: Sequence[str] = (), progress: Progress = no_progress) -> Browser:
    """Choose images and draw them, reading the members' probabilities of these images only.

    Args:
        material: the runs.
        chosen: ids of images to show besides those of ``rank_images``.
        progress: callback that receives the progress.

    Raises:
        EnsError: probabilities that are missing or damaged, or an id that no scored image has.
    """
    members, pool, system = _system(material)
    aligned = align(members)
    reasons = _choose(material, members, aligned, chosen)
    score_m = np.array([member.scores["miou"] for member in members], np.float64)
    largest = np.lexsort((-score_m, -pool.weights_m))[:MOST_MEMBERS].tolist()
    titles = {material.short[aligned.names[m]]: m for m in largest}
    photo_of, notes = _photographs(members[0], aligned)
    if len(largest) < len(members):
        notes.append(
            f"Of {len(members)} members {len(largest)} have pictures of their own: those with the most weight, among"
            " equals the best."
        )
    if material.featured is not None:
        notes.append(
            "The ensemble's pictures are of its final pool, whose parameters, where it has any, were fitted on these"
            " images too; its scores above are cross-fitted."
        )
    shown: dict[int, FormattedTable] = {}
    for row, probs_mchw, labels_hw in _read(aligned, sorted(reasons)):
        tiles = tiles_of(probs_mchw, labels_hw, pool, aligned.classes, titles, system)
        shown[row] = FormattedTable(str(aligned.ids[row]), reasons[row], photo_of(row), tiles)
        progress("drawing images", len(shown), len(reasons))
    kept = _within_budget([shown[row] for row in reasons])
    if len(kept) < len(shown):
        notes.append(f"Of {len(shown)} images chosen {len(kept)} are shown, for the file to stay small.")
    ratio = aligned.stores[0].width / aligned.stores[0].height
    return Browser(tuple(kept), ratio, aligned.classes, tuple(notes))


def _system(material: Material) -> tuple[list[Member], Combiner, str]:
    """Members, how they are combined, and what that is called; without an ensemble the average of the best."""
    ensemble = material.featured
    if ensemble is not None:
        return ensemble.members(), read_pool(ensemble), f"ensemble ({ensemble.settings.method})"
    members = list(material.members[:MOST_AVERAGED])
    pool = Pool.uniform(len(members), len(align(members).classes))
    return members, pool, f"average of {len(members)}" if len(members) > 1 else ""


def _choose(
    material: Material, members: Sequence[Member], aligned: Aligned, chosen: Sequence[str]
) -> dict[int, tuple[str, ...]]:
    """Rows to show with the reasons for each; one of every reason, then the second ones, and so on."""
    rows = {str(name): row for row, name in enumerate(aligned.ids)}
    unknown = next((name for name in chosen if name not in rows), None)
    if unknown is not None:
        raise EnsError(
            f"expected the id of an image that the members are scored on, such as {aligned.ids[0]}, got '{unknown}'"
        )
    confusions_mnkk = [_confusions(member.path, aligned) for member in members]
    accuracy_mn = np.stack([np.nan_to_num(pixel_accuracy(confusions_nkk)) for confusions_nkk in confusions_mnkk])
    found = rank_images(_confusions(material.best.path, aligned), accuracy_mn)
    ranked = {
        CHOSEN: [rows[name] for name in chosen],
        **{why: each[:PER_REASON].tolist() for why, each in found.items()},
    }
    turns = [
        each[turn] for turn in range(max(map(len, ranked.values()))) for each in ranked.values() if turn < len(each)
    ]
    return {row: tuple(why for why, each in ranked.items() if row in each) for row in dict.fromkeys(turns)}


def _confusions(path: Path, aligned: Aligned) -> NDArray[np.int64]:
    """Confusion matrices of a run in the order of the images."""
    return read_tables(path).of(aligned.ids).confusions_nkk


def _photographs(member: Member, aligned: Aligned) -> tuple[Callable[[int], str], list[str]]:
    """Photograph of a row, and a sentence where there are none."""
    settings, why = member.settings.data, "have changed since"
    try:
        dataset = open_dataset(settings)
    except EnsError:
        dataset, why = None, "cannot be opened any more"
    if dataset is None or dataset.data_hash != member.facts.data_hash:
        return lambda _: "", [f"The data ({member.facts.name}) {why}, so the maps are shown without the images."]
    place = {str(name): row for row, name in enumerate(dataset.ids)}
    return lambda row: photograph(dataset.images([place[str(aligned.ids[row])]])[0]), []


def _read(aligned: Aligned, rows: Sequence[int]) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.uint8]]]:
    """Row, probabilities (m, c, h, w) and labels of some images, one at a time; each chunk is read once."""
    relabel = np.full(256, VOID, np.uint8)
    relabel[list(aligned.channels[0])] = np.arange(len(aligned.classes))
    for parts in zip(*(store.batches(1, rows) for store in aligned.stores), strict=True):
        probs = [select(part[1], channels)[0] for part, channels in zip(parts, aligned.channels, strict=True)]
        labels = parts[0][2]
        assert labels is not None  # stores of members hold labels
        yield int(parts[0][0][0]), np.stack(probs), relabel[labels[0]]


def _within_budget(images: Sequence[FormattedTable]) -> list[FormattedTable]:
    """The first images whose pictures are not too much together."""
    sizes = np.cumsum([image.size for image in images])
    return list(images[: max(1, int(np.searchsorted(sizes, BUDGET, side="right")))])

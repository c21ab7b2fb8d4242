"""Choose the images to label next, and write them as a table and as a contact sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ensemble.combining.alignment import Aligned, align
from ensemble.config import DataSettings
from ensemble.core.data_kinds import IMAGES, check_exists
from ensemble.core.errors import EnsError
from ensemble.core.files import check_folder, write_bytes
from ensemble.core.progress import Progress, no_progress
from ensemble.core.reading import is_folder
from ensemble.data import Dataset, open_dataset
from ensemble.inference.disagreement import load_members
from ensemble.inference.image_sources import Images
from ensemble.inference.open_images import open_images
from ensemble.report.choose_next import choose_new, choose_stored
from ensemble.report.figures.next_images import draw_next
from ensemble.results.export import csv_text
from ensemble.runs.member import Member
from ensemble.runs.select import named_members, newest_members

Say = Callable[[str], object]
TABLE, PICTURE = "next.csv", "next.png"


@dataclass(frozen=True)
class LabelNext:
    """Result of ``label_next``.

    Attributes:
        name: name of the file or folder with the images.
        total: number of images that were ranked.
        chosen: a row per chosen image, the best first: ``rank``, ``id``, ``information`` (nats) and ``group``.
        members: names of the members whose disagreement counts.
        table: path of ``next.csv``.
        picture: path of ``next.png``.
    """

    name: str
    total: int
    chosen: pd.DataFrame
    members: tuple[str, ...]
    table: Path
    picture: Path


def label_next(
    data: DataSettings | str | Path,
    members: Sequence[str | Path] = (),
    *,
    count: int = 20,
    out: str | Path = ".",
    device: str = "auto",
    runs: str | Path = "runs",
    progress: Progress = no_progress,
    on_note: Say = str,
) -> LabelNext:
    """Choose images by the disagreement of members, and write ``next.csv`` and ``next.png`` into ``out``.

    Of test images of the data that the members were trained on, the stored probabilities count. Other images are
    predicted once, in memory that does not grow with their number; copies of labelled images of the members' data are
    left out. See `rank_next` for the order.

    Args:
        data: data with test images that the members know; or other images, as `ensemble.predict` takes them.
        members: two or more members, or an ensemble, which stands for its members. They must be named for other images;
            the default is all members in ``runs`` that were trained on the data.
        count: number of images to choose.
        out: folder for the table and the contact sheet.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``, for images that are predicted.
        runs: folder for runs.
        progress: callback that receives the progress.
        on_note: called with each sentence about images that are left out or changed when they are read.

    Raises:
        EnsError: there are no images without labels, or fewer than two members that know or can predict them, or the
            folder cannot be written.

    >>> label_next("photos", ["unet-ce", "pspnet-dice"], count=50).chosen  # doctest: +SKIP
    """
    if count < 1:
        raise EnsError(f"expected at least one image to choose as count, got {count}; give for example 20")
    settings = data if isinstance(data, DataSettings) else DataSettings(source=str(data))
    if settings.source != "sample":
        check_exists(Path(settings.source).expanduser(), IMAGES)
    check_folder(Path(out))
    dataset, opened = _known_data(settings, named_members(Path(runs), members), Path(runs), progress)
    if len(opened) < 2:
        raise EnsError(
            f"expected at least two members, because images are ranked by their disagreement, got {len(opened)}; name"
            " another, or train one with `ens train`"
        )
    if dataset and (aligned := _stored(dataset, opened)):
        found = choose_stored(dataset, aligned, count, progress)
    else:
        images = _open_new(settings.source, Path(out))
        from ensemble.inference.hardware import choose_hardware  # noqa: PLC0415  (torch takes two seconds)

        found = choose_new(load_members(opened, choose_hardware(device).device), images, count, progress, on_note)
    chosen = pd.DataFrame(
        {
            "rank": range(1, len(found.ids) + 1),
            "id": found.ids,
            "information": found.information,
            "group": found.groups,
        }
    )
    name, names = Path(settings.source).resolve().name, tuple(member.name for member in opened)
    result = LabelNext(name, found.total, chosen, names, Path(out) / TABLE, Path(out) / PICTURE)
    write_bytes(result.table, csv_text(chosen).encode())
    draw_next(found.pictures, found.ids, found.information, result.picture)
    return result


def _known_data(
    settings: DataSettings, named: list[Member], runs: Path, progress: Progress
) -> tuple[Dataset | None, list[Member]]:
    """Return the data and the members that know them; no data if the named members are to predict the images."""
    try:
        dataset = open_dataset(settings, progress)
    except EnsError as error:
        if named:
            return None, named
        raise EnsError(
            f"expected the names of members that predict the images of {settings.source} (--members), because they are"
            f" no data that members were trained on: {error}"
        ) from None
    if not dataset.test_ids:
        raise EnsError(
            f"expected test images in {dataset.name}, of which the next ones to label are chosen, got none; put images"
            " without masks into its folder test/ (in an npz, test_set), or give other images, such as a new folder"
        )
    members = named or newest_members(runs, dataset.data_hash)
    if members and all(member.facts.data_hash == dataset.data_hash for member in members):
        return dataset, members
    if named:
        return None, named
    raise EnsError(
        f"expected the names of members that predict the images of {dataset.name} (--members), because no member in"
        f" {runs} was trained on these data"
    )


def _stored(dataset: Dataset, members: Sequence[Member]) -> Aligned | None:
    """Return the test probabilities that the members stored, or None if a member stored none."""
    if not all(member.has_store("test") for member in members):
        return None
    aligned = align(members, "test")
    if tuple(aligned.ids) != dataset.test_ids:
        raise EnsError(f"{members[0].name} predicted other test images than those of {dataset.name}; train it again")
    return aligned


def _open_new(source: str, out: Path) -> Images:
    """Open images to predict, among which the results must not lie: the next command would rank the contact sheet."""
    images = open_images(source, out)
    if is_folder(Path(source).expanduser()) and any(
        file.parent.resolve() == out.resolve() for file in images.files or ()
    ):
        raise EnsError(
            f"expected a folder for {TABLE} and {PICTURE}, got that of the images, {out}; choose another one"
        )
    return images

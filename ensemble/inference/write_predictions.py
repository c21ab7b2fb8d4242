"""Write what is predicted: the files of each image as soon as it is predicted, or one file of all images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble.core.files import digest
from ensemble.core.foreground import BACKGROUND_ID, foreground
from ensemble.core.locks import whole_folder
from ensemble.core.progress import Progress
from ensemble.inference.companions import remove_stale, removed_note
from ensemble.inference.image_sources import Images
from ensemble.inference.large_files import is_large, strips_of, write_large
from ensemble.inference.left_open import LeftOpen
from ensemble.inference.output_plan import PROBABILITIES, SETS, OutputPlan
from ensemble.inference.predict_batches import predict_batches
from ensemble.inference.predictor import Predictor
from ensemble.inference.quality_table import QualityTable
from ensemble.inference.replaceable import origin_of
from ensemble.inference.uncertainty_maps import Predicted, predict_with_information
from ensemble.inference.write_files import (
    Batches,
    Maps,
    write_csv,
    write_map,
    write_mask,
    write_npz,
    write_probabilities,
    write_run_lengths,
)

Say = Callable[[str], object]


@dataclass(frozen=True)
class Source:
    """Images that are predicted; each is added to the table of quality and to the pixels left open, where wanted."""

    predictor: Predictor
    images: Images
    information: bool
    table: QualityTable | None
    progress: Progress
    opened: LeftOpen | None = None

    def batches(self, wanted: Callable[[int], bool] = lambda _: True) -> Iterator[Predicted]:
        """Yield what is predicted for the wanted rows, batch after batch; a batch may hold other rows, too."""
        information = self.information or self.table is not None
        for batch in predict_with_information(
            self.predictor, self.images, self.progress, wanted, information=information
        ):
            if self.table:
                self.table.add(batch)
            if self.opened:
                self.opened.add(self.predictor.masks(batch.probs_nchw))
            yield batch

    def each(self, wanted: Callable[[int], bool] = lambda _: True) -> Iterator[tuple[int, Predicted]]:
        """Yield each wanted row with what is predicted for it."""
        for batch in self.batches(wanted):
            yield from ((row, one) for row, one in batch.each() if wanted(row))


def probabilities_of(predictor: Predictor, images: Images, progress: Progress) -> Iterator[NDArray[np.float32]]:
    """Yield the probabilities (n, classes, h, w) of all images, of large ones strip after strip."""
    large = {row for row in range(len(images.ids)) if is_large(images.head(row))}
    for row in sorted(large):
        yield from (strip[None] for strip in strips_of(predictor, images, row, progress))
    for _, probs in predict_batches(predictor, images, progress, lambda row: row not in large):
        yield probs


def _maps(predictor: Predictor, plan: OutputPlan, predicted: Predicted) -> Maps:
    """Return what is written in addition to masks and probabilities, by name."""
    maps = predicted.maps(plan.uncertainty)
    return {**maps, SETS: predictor.sets(predicted.probs_nchw)} if plan.sets else maps


def write_each(source: Source, plan: OutputPlan, origins: Sequence[str], on_note: Say) -> None:
    """Write the files of each image, except those that are there already."""
    assert plan.masks is not None
    predictor, images, table, masks = source.predictor, source.images, source.table, plan.masks
    removed = [file for row, origin in enumerate(origins) for file in remove_stale(plan, row, origin)]
    if note := removed_note(removed):
        on_note(note)
    if plan.form == "npz" and plan.more:  # an npz that holds less is another file
        origins = [digest(origin, *plan.more) for origin in origins]
    if table and plan.quality:
        table.read(plan.quality)

    def is_there(row: int) -> bool:
        files = (masks[row], *plan.files_of(row).values())
        return all(origin_of(file) == origins[row] for file in files) and (table is None or table.has(row))

    missing = {row for row in range(len(origins)) if not is_there(row)}
    if replaced := sum(masks[row].exists() and origin_of(masks[row]) != origins[row] for row in missing):
        on_note(f"masks of another model, decision or image, that are replaced: {replaced:,}")
    if kept := len(origins) - len(missing):
        on_note(f"{kept} of {len(origins)} predictions are there already, by the same model for the same images")
    pictures = plan.form in ("png", "tif")
    large = {row for row in missing if pictures and is_large(images.head(row))}
    for row in sorted(large):
        write_large(predictor, images, row, masks[row], origins[row], plan.geo.get(row), source.progress)
    try:
        for row, one in source.each((missing - large).__contains__):
            _write_files(predictor, images.ids[row], row, one, plan, origins[row])
    finally:  # so that a command that failed in the middle goes on
        if table and plan.quality:
            table.write(plan.quality)


def _write_files(predictor: Predictor, name: str, row: int, one: Predicted, plan: OutputPlan, origin: str) -> None:
    """Write the files of one image, the mask last."""
    assert plan.masks is not None
    file, geo, maps = plan.masks[row], plan.geo.get(row), _maps(predictor, plan, one)
    if plan.form == "npz":
        batch = iter([(one.probs_nchw, maps)])
        write_npz(predictor, [name], batch, file, probabilities=plan.probabilities, origin=origin)
        return
    for kind, place in plan.files_of(row).items():
        if kind == PROBABILITIES:
            write_probabilities(predictor, one.probs_nchw[0], place, origin, geo)
        else:
            write_map(maps[kind][0], place, origin, geo)
    write_mask(predictor, predictor.masks(one.probs_nchw)[0], file, origin, geo)


def write_tables(source: Source, plan: OutputPlan) -> None:
    """Write a CSV of each image into a folder, which appears when it is complete."""
    assert plan.masks is not None
    with whole_folder(plan.place) as unfinished:
        for row, one in source.each():
            file = unfinished / plan.masks[row].relative_to(plan.place)
            write_csv(source.predictor, iter([([source.images.ids[row]], one.probs_nchw)]), file)
        if source.table and plan.quality:
            source.table.write(unfinished / plan.quality.name)


def write_one(source: Source, plan: OutputPlan, on_note: Say) -> None:
    """Write one file of all images."""
    predictor, images = source.predictor, source.images
    batches: Batches = (([images.ids[row] for row in batch.rows], batch.probs_nchw) for batch in source.batches())
    if plan.form == "npz":
        each = ((batch.probs_nchw, _maps(predictor, plan, batch)) for batch in source.batches())
        write_npz(predictor, images.ids, each, plan.place, probabilities=plan.probabilities)
    elif plan.form == "csv":
        write_csv(predictor, batches, plan.place)
    else:
        values = list(predictor.values)
        if plan.instances and _has_background(predictor):
            values.remove(BACKGROUND_ID)
            name = predictor.classes[predictor.values.index(BACKGROUND_ID)]
            on_note(f"'{name}' (id 0) is the background, which has no objects")
        write_run_lengths(predictor, batches, plan.place, values, instances=plan.instances)
    if source.table and plan.quality:
        source.table.write(plan.quality)


def _has_background(predictor: Predictor) -> bool:
    """Return whether the class with the id 0 is a background: by its name, or because there is one other class."""
    if BACKGROUND_ID not in predictor.values:
        return False
    name = predictor.classes[predictor.values.index(BACKGROUND_ID)].casefold()
    return name in ("background", "bg") or foreground(predictor.values) is not None

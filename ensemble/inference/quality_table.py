"""Estimate the IoU of predicted images without a mask, and write it to a table next to their masks."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ensemble.combining.alignment import align
from ensemble.combining.quality import Quality, measure_quality, quality_counts, sum_quality
from ensemble.core.errors import EnsError
from ensemble.core.files import write_bytes
from ensemble.core.reading import guard
from ensemble.evaluation.caveats import ENOUGH_GROUPS
from ensemble.evaluation.quality import WHOLE
from ensemble.inference.output_plan import QUALITY
from ensemble.inference.predictor import Predictor
from ensemble.inference.replaceable import QUALITY_COLUMNS, origin_of
from ensemble.inference.uncertainty_maps import Predicted
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.run_files import bundle_of
from ensemble.runs.status import read_status

SHOWN = 3  # images that a note names


def load_quality(predictor: Predictor, path: Path) -> Quality:
    """Return what estimates the quality of the predictions of a model.

    An ensemble holds it, from `combine`. For a member it is fitted to its stored validation images, which its network
    was not trained on.

    Args:
        predictor: the model, as it predicts.
        path: its directory.

    Raises:
        EnsError: the model predicts in another way than on its validation images, or an earlier version made it.
    """
    is_ensemble = read_status(path).get("kind") == "ensemble"
    if predictor.tta is not None or (is_ensemble and predictor.asked):
        what = "--tta" if predictor.tta is not None else "--decide"
        raise EnsError(
            f"the quality of {predictor.name} is known for the way in which it predicted its validation images; leave"
            f" out {what}, or the estimate of quality"
        )
    if not is_ensemble and (bundle := bundle_of(path)) is not None:
        if bundle.about.get("quality") is None:
            raise EnsError(
                f"{bundle.path} was made without predictions of validation images, so it cannot estimate how good masks"
                " are; leave out the estimate of quality (--quality)"
            )
        return Quality.from_json(bundle.about["quality"], predictor.classes)
    if not is_ensemble:
        aligned = align(predictor.members)
        sums = sum_quality(aligned, [predictor.pool], np.zeros(len(aligned.ids), np.int64), [0])
        return measure_quality(sums, aligned).quality
    ensemble = Ensemble.open(path)
    if ensemble.quality is None:
        raise EnsError(f"{predictor.name} was combined by an earlier version, which knew no quality; combine again")
    return Quality.from_json(ensemble.quality, ensemble.classes)


@dataclass
class QualityTable:
    """The rows of ``quality.csv``: a row per image as a whole, which has an empty class, and per class in its map.

    Attributes:
        quality: what estimates.
        predictor: the model.
        images: names and origins of all images. An origin is the digest of model and image, by which a repeated command
            knows what is there.
        rows: the rows of each image that is known.
    """

    quality: Quality
    predictor: Predictor
    images: Sequence[tuple[str, str]]
    rows: dict[tuple[str, str], list[list[str]]] = field(default_factory=dict[tuple[str, str], list[list[str]]])

    def read(self, file: Path) -> None:
        """Take over the rows that an earlier command wrote, for the same images and model."""
        if file.exists():
            with guard(file, "a table of quality", "delete it"), file.open(encoding="utf-8", newline="") as stream:
                for row in list(csv.reader(stream))[1:]:
                    if (key := (row[0], row[-1])) in self.images:
                        self.rows.setdefault(key, []).append(row)

    def has(self, row: int) -> bool:
        """Return whether an image is known."""
        return self.images[row] in self.rows

    def add(self, batch: Predicted) -> None:
        """Add predicted images."""
        assert batch.information_nhw is not None, "the members were asked for it"
        decided_nhw = self.predictor.pool.decide(batch.probs_nchw)
        counts_nk4 = quality_counts(batch.probs_nchw, decided_nhw, batch.information_nhw)
        pixels_nk = counts_nk4[..., 2].astype(np.int64)
        for row, found_k3, pixels_k in zip(batch.rows, self.quality(counts_nk4), pixels_nk, strict=True):
            name, origin = self.images[row]
            pixels = [int(pixels_k.sum()), *pixels_k.tolist()]
            self.rows[name, origin] = [
                [name, which, *("" if np.isnan(value) else f"{value:.4f}" for value in each), str(count), origin]
                for which, each, count in zip(self.quality.names, found_k3.tolist(), pixels, strict=True)
                if count
            ]

    def write(self, file: Path) -> None:
        """Write the rows of the images that are known, in the order of the images."""
        rows = [row for image in self.images for row in self.rows.get(image, [])]
        write_bytes(file, _content([QUALITY_COLUMNS, *rows]))

    def notes(self) -> list[str]:
        """Return sentences about what has no estimate, and about the images with the lowest one."""
        unknown = [name or "an image as a whole" for name in self.quality.cannot_say]
        notes = [
            f"cannot say how good the masks are for {', '.join(unknown)}: fewer than {ENOUGH_GROUPS} groups of"
            " validation images have it in their masks"
        ] * bool(unknown)
        if WHOLE in self.quality.cannot_say:
            return notes
        whole = [row for rows in self.rows.values() for row in rows if row[1] == WHOLE]
        shown = [
            f"{name} {100 * float(iou):.0f} % ({100 * float(low):.0f} to {100 * float(high):.0f})"
            for name, _, iou, low, high, *_ in sorted(whole, key=lambda row: float(row[2]))[:SHOWN]
        ]
        return [*notes, f"lowest estimated mean IoU of an image, with 90 % intervals: {', '.join(shown)}"]


def drop_stale_rows(file: Path, origins: Mapping[str, str]) -> bool:
    """Take the estimates of other predictions of these images out of a table, and return whether there were any.

    The table of a folder keeps the rows of other images; that next to a file describes this file alone. A table without
    rows is removed, and a table that `ens predict` did not write stays as it is.

    Args:
        file: table that an earlier command may have written.
        origins: digest of model and image by the name of each image.
    """
    if not file.exists() or origin_of(file) is None:
        return False
    with guard(file, "a table of quality", "delete it"), file.open(encoding="utf-8", newline="") as stream:
        head, *rows = csv.reader(stream)
        others = file.name == QUALITY
        kept = [row for row in rows if origins.get(row[0], row[-1] if others else "") == row[-1]]
    if len(kept) == len(rows):
        return False
    if kept:
        write_bytes(file, _content([head, *kept]))
    else:
        file.unlink(missing_ok=True)
    return True


def _content(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()

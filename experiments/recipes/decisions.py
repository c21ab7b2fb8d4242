"""Does deciding for the metric help on real data? Every decision after every pool, on Mars tiles and on nuclei.

    python experiments/recipes/decisions.py mars.npz nuclei [--runs runs]

Trains what is missing (six members of Mars, four of nuclei; about a quarter of an hour on two idle cores with bf16
units) and cross-fits each pool with each decision on the same folds. A row of experiments/results/decisions.csv
compares one with the argmax of the same pool, paired over image groups: the difference in mIoU and in the IoU of the
rarest class, with 95 % intervals, and the difference without the group of images that matters most. The picture shows
the images whose class maps changed most.

For the average with argmax, experiments/results/quality-real.csv says how well the quality of an image is known without
its mask (`ens predict --quality`), out of fold; the second picture shows the images with the lowest estimates.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import ensemble
from ensemble.combining.alignment import Aligned, align
from ensemble.combining.by_fold import apply_by_fold
from ensemble.combining.crossfit import CrossFit, cross_fit_all
from ensemble.combining.pipeline import Pipeline
from ensemble.combining.quality import MeasuredQuality, measure_quality, sum_quality
from ensemble.config import DataSettings
from ensemble.core.files import write_bytes
from ensemble.core.palette import class_colours
from ensemble.core.progress import Progress
from ensemble.data import Dataset, open_dataset
from ensemble.evaluation.paired import Draws
from ensemble.evaluation.quality import true_quality
from ensemble.report.figures.drawing import save_png
from ensemble.report.figures.picture_grid import displayable, picture_grid
from ensemble.runs.member import Member

RESULTS = Path(__file__).resolve().parents[1] / "results"
DECISIONS = ("argmax", "offsets", "expected-iou", "expected-dice")
CALIBRATIONS = ("none", "both")
PICTURES = 4  # images in a picture
Fits = Mapping[tuple[str, str, str], CrossFit]  # by pool, calibration and decision
Losses = Sequence[tuple[str, str]]
DATA: dict[str, tuple[Losses, dict[str, Any]]] = {
    "mars": (
        (
            ("unet", "ce"),
            ("unet", "weighted-ce"),
            ("pspnet", "weighted-ce"),
            ("pan", "weighted-ce"),
            ("resunet", "dice"),
            ("channel-attention-unet", "weighted-ce"),
        ),
        {"val_fraction": 0.26, "augment": "flips", "epochs": 5},
    ),
    "nuclei": (
        (("unet", "ce"), ("unet", "weighted-ce"), ("pspnet", "weighted-ce"), ("linknet", "0.5*dice + 0.5*ce")),
        {"val_fraction": 0.26, "augment": "flips", "epochs": 10},
    ),
}


def pools(members: int) -> dict[str, str]:
    """Return the methods that are compared, by their titles; the first member alone is one."""
    alone = ", ".join(["1", *["0"] * (members - 1)])
    return {
        "first member": f"weighted(weights=[{alone}])",
        "average": "average",
        "geometric": "geometric",
        "learned": "learned",
    }


def cross_fit_pools(aligned: Aligned, progress: Progress) -> Fits:
    """Cross-fit every pool, calibrated and not, with every decision."""
    keys = [
        (title, method, calibrate, decide)
        for title, method in pools(len(aligned.names)).items()
        for calibrate in CALIBRATIONS
        for decide in DECISIONS
    ]
    pipelines = [Pipeline(method, calibrate, decide) for _, method, calibrate, decide in keys]  # pyright: ignore[reportArgumentType]
    fits = cross_fit_all(aligned, pipelines, folds=5, seed=0, shapes=False, progress=progress)
    return {(title, calibrate, decide): fit for (title, _, calibrate, decide), fit in zip(keys, fits, strict=True)}


def rows_of(name: str, aligned: Aligned, fits: Fits) -> list[dict[str, Any]]:
    """Return a row per pool, calibration and decision, with the differences to the argmax of the same pool."""
    draws = Draws.of(aligned.groups)
    scores = {key: draws.iou(fit.crossfit.confusions_nkk) for key, fit in fits.items()}
    (some, *_) = fits.values()
    rare = int(some.crossfit.confusions_nkk.sum((0, 2)).argmin())
    rows: list[dict[str, Any]] = []
    for (pool, calibrate, decide), score in scores.items():
        fit, plain = fits[pool, calibrate, decide], scores[pool, calibrate, "argmax"]
        row = {"data": name, "pool": pool, "calibrate": calibrate, "decide": decide, "miou": score.whole_c[0]}
        row |= {"rare_class": aligned.classes[rare], "rare_iou": score.whole_c[1 + rare]}
        row["ece"] = fit.crossfit.basics()["ece"]
        if decide != "argmax":
            for title, column in (("difference", 0), ("rare_difference", 1 + rare)):
                gain = score.minus(plain, column)
                found = gain.comparison()
                row |= {title: found.difference, f"{title}_low": found.low, f"{title}_high": found.high}
                row |= {f"{title}_without_one_group": _least(gain.left_out_g, gain.estimate)}
        rows.append(row | {"images": len(aligned.groups), "groups": len(set(aligned.groups)), "folds": 5})
    return rows


def _least(left_out_g: Any, estimate: float) -> float:
    return float(left_out_g[int(np.nanargmin(left_out_g * np.sign(estimate)))])


def draw(dataset: Dataset, aligned: Aligned, fits: Fits, path: Path) -> None:
    """Draw the images whose class maps `expected-iou` changes most, after the average."""
    plain, rule = (fits["average", "none", decide] for decide in ("argmax", "expected-iou"))
    changed_n = np.abs(rule.crossfit.confusions_nkk - plain.crossfit.confusions_nkk).sum((1, 2))
    rows: list[int] = sorted(np.argsort(changed_n)[::-1][:PICTURES].tolist())
    colours = class_colours(range(len(aligned.classes)))
    columns: dict[str, list[Any]] = {"image": [], "mask": [], "argmax": [], "expected IoU": []}
    for row, batch in zip(rows, aligned.images(rows), strict=True):
        columns["image"].append(displayable(dataset.image(dataset.ids.index(aligned.ids[row]))))
        columns["mask"].append(colours[batch.labels_nhw[0]])
        for title, fit in (("argmax", plain), ("expected IoU", rule)):
            _, classes_nhw = apply_by_fold(fit.fold_pools, fit.fold_n[row : row + 1], batch.probs_mnchw)
            columns[title].append(colours[classes_nhw[0]])
    names = [aligned.ids[row] for row in rows]
    save_png(picture_grid(list(columns.items()), aligned.classes, names), path, dpi=80)


def quality_rows(name: str, measured: MeasuredQuality) -> list[dict[str, Any]]:
    """Return a row for whole images and one per class: how good the estimates of quality are."""
    return [{"data": name, "what": what, **scores} for what, scores in measured.scores.items()]


def draw_worst(dataset: Dataset, aligned: Aligned, fit: CrossFit, measured: MeasuredQuality, path: Path) -> None:
    """Draw the images with the lowest estimates of quality, with their true IoU."""
    estimate_n3 = measured.found_nk3[:, 0]
    rows: list[int] = np.argsort(estimate_n3[:, 0], kind="stable")[:PICTURES].tolist()  # NaN comes last
    truth_nk = true_quality(fit.crossfit.confusions_nkk)
    colours = class_colours(range(len(aligned.classes)))
    columns: dict[str, list[Any]] = {"image": [], "mask": [], "class map": []}
    names: list[str] = []
    for row in rows:
        (batch,) = aligned.images([row])
        _, classes_nhw = apply_by_fold(fit.fold_pools, fit.fold_n[row : row + 1], batch.probs_mnchw)
        columns["image"].append(displayable(dataset.image(dataset.ids.index(aligned.ids[row]))))
        columns["mask"].append(colours[batch.labels_nhw[0]])
        columns["class map"].append(colours[classes_nhw[0]])
        middle, low, high = (f"{100 * value:.0f}" for value in estimate_n3[row])
        names.append(f"{aligned.ids[row]}\nestimated {middle} ({low} to {high})\ntrue {100 * truth_nk[row, 0]:.0f}")
    save_png(picture_grid(list(columns.items()), aligned.classes, names), path, dpi=80)


def train_all(name: str, data: str, runs: Path, progress: Progress) -> list[Member]:
    """Train the members of a data set, or find them."""
    losses, common = DATA[name]
    members = [
        ensemble.train(data, arch=arch, loss=loss, optimiser="adamw", out=runs, progress=progress, **common)
        for arch, loss in losses
    ]
    print("\n".join(f"{member.name}: {member.scores['miou']:.4f}" for member in members))
    return members


def main() -> None:
    """Train, cross-fit, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mars", help="mars.npz")
    parser.add_argument("nuclei", help="the folder of PNG pairs")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    given = parser.parse_args()

    def progress(task: str, done: int, total: int, note: str = "", /) -> None:
        print(f"\r{task} {done}/{total} {note}", end="" if done < total else "\n", flush=True)

    rows: list[dict[str, Any]] = []
    qualities: list[dict[str, Any]] = []
    for name in DATA:
        members = train_all(name, getattr(given, name), given.runs, progress)
        aligned = align(members)
        fits = cross_fit_pools(aligned, progress)
        rows += rows_of(name, aligned, fits)
        dataset = open_dataset(DataSettings(source=getattr(given, name)))
        draw(dataset, aligned, fits, RESULTS / f"decisions-{name}.png")
        average = fits["average", "none", "argmax"]
        sums = sum_quality(aligned, average.fold_pools, average.fold_n, average.pool.used, progress)
        measured = measure_quality(sums, aligned)
        qualities += quality_rows(name, measured)
        draw_worst(dataset, aligned, average, measured, RESULTS / f"quality-{name}.png")
    for path, found in (("decisions.csv", rows), ("quality-real.csv", qualities)):
        table = pd.DataFrame(found)
        text = table.to_csv(index=False, lineterminator="\n", float_format="%.6g")
        write_bytes(RESULTS / path, text.encode())
        print(table.round(4).to_string(index=False))


if __name__ == "__main__":
    main()

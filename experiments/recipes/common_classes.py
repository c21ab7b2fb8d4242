"""Compare the runs of a study where few images do not decide: by the mean IoU of all classes but the rarest.

    python experiments/recipes/common_classes.py runs/studies/STUDY.csv --rival LABEL --out TABLE.csv

A row per run of the study, scored on the pixels that LABEL has labels for. `common` is the mean IoU of its classes but
the one in the fewest pixels, `rare` is that one's IoU, `miou` the mean of all. A run may have background as one more
class; its predictions of background are misses. `keras` is the run's own `keras.metrics.MeanIoU(ignore_class=0)`, and
`classes` the number of classes in it: one more if background was predicted on a labelled pixel, and
`background_pixels` the number of such pixels (of `labelled_pixels`). Of the rarest class, `rare_area` is the share of
its pixels that are found, `rare_right` the share of what is called so that is so, `rare_without_largest` its IoU
without the image with most of it; `rare_objects_found` are those of its `rare_objects` that have a partner with an IoU
of a half, and `rare_objects_false` predicted ones without a partner. `d_common`, `d_miou` and `d_log_loss` are
differences to LABEL on the same images, paired over their groups; a run with other classes has no comparable log-loss
and objects. `_low` and `_high` are limits of 95 % intervals, each by itself. `TABLE.png` shows the differences in
`common`, beside those in log-loss, or beside both metrics if a run has a background.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ensemble.core.files import write_bytes
from ensemble.evaluation import Draws, SampledScores, iou_per_class
from ensemble.inference.hardware import cpu_name
from ensemble.report.figures.drawing import BLUE, RED, interval_points, label_axis, name_rows, new_figure, save_png
from ensemble.runs.tables import ImageTables, read_tables

Counts = NDArray[np.int64]
LONGEST = 45  # letters of a label in the picture; of a longer one the end is shown
KEPT = ("group", "name", "epochs", "images", "groups", "log_loss")
KERAS = {"miou_keras": "keras", "miou_keras_low": "keras_low", "miou_keras_high": "keras_high"}


def confusions_of(tables: ImageTables, classes: Sequence[str]) -> Counts:
    """Return the confusions (n, k, p) of the pixels of ``classes``; columns of other predicted classes come last."""
    places = [tables.classes.index(name) for name in classes]
    others = [place for place in range(len(tables.classes)) if place not in places]
    return tables.confusions_nkk[:, places][:, :, [*places, *others]]


def background_pixels(tables: ImageTables, confusions_nkp: Counts) -> int:
    """Return how many labelled pixels a run takes for background: that of an output that is not scored counts, too."""
    raw_nkp = tables.tables.get("raw_confusions", confusions_nkp)
    return int(raw_nkp[:, :, confusions_nkp.shape[1] :].sum())


def iou(draws: Draws, confusions_nkp: Counts, rare: int) -> SampledScores:
    """Score a run by its mean IoU (column 0), the IoU of each class, and the mean of those other than ``rare`` (-1)."""
    return draws.iou(confusions_nkp, np.arange(confusions_nkp.shape[1]) != rare)


def log_loss(draws: Draws, tables: ImageTables) -> SampledScores:
    """Score a run by its mean log-loss over labelled pixels, in nats."""
    sums_n2 = np.stack([tables.tables["log_loss"], tables.confusions_nkk.sum((1, 2))], axis=1)
    return draws.scores(lambda total: total(sums_n2)[..., :1] / total(sums_n2)[..., 1:])


def of_rarest(tables: ImageTables, confusions_nkp: Counts, rare: int) -> dict[str, float]:
    """Return what a run finds of the class ``rare``, by area and by objects."""
    whole_kp, largest = confusions_nkp.sum(0), int(confusions_nkp[:, rare].sum(1).argmax())
    called = whole_kp[:, rare].sum()
    found = {
        "rare": iou_per_class(whole_kp)[rare],
        "rare_without_largest": iou_per_class(whole_kp - confusions_nkp[largest])[rare],
        "rare_area": whole_kp[rare, rare] / whole_kp[rare].sum(),
        "rare_right": whole_kp[rare, rare] / called if called else np.nan,
        "rare_images": int(np.count_nonzero(confusions_nkp[:, rare].sum(1))),
    }
    if confusions_nkp.shape[1:] != (len(tables.classes),) * 2:
        return found  # objects at a background are no objects at void
    right, said, hit, true = tables.tables["objects"][:, rare].sum((0, 1)).tolist()
    return found | {"rare_objects_found": hit, "rare_objects": true, "rare_objects_false": said - right}


def log_loss_difference(draws: Draws, one: ImageTables, other: ImageTables) -> dict[str, float]:
    """Return the difference in log-loss of two runs of the same images, with limits."""
    pair = log_loss(draws, one).minus(log_loss(draws, other)).comparison()
    return {"d_log_loss": pair.difference, "d_log_loss_low": pair.low, "d_log_loss_high": pair.high}


def differences(draws: Draws, one_nkp: Counts, other_nkp: Counts, rare: int) -> dict[str, float]:
    """Return the difference in mIoU and in the mean of the common classes, with limits."""
    mine, theirs = (iou(draws, each_nkp, rare) for each_nkp in (one_nkp, other_nkp))
    found: dict[str, float] = {}
    for name, column in (("miou", 0), ("common", -1)):
        pair = mine.minus(theirs, column).comparison()
        found |= {f"d_{name}": pair.difference, f"d_{name}_low": pair.low, f"d_{name}_high": pair.high}
    return found


def rows_of(study: Path, rival: str) -> list[dict[str, Any]]:
    """Return a row per run of the study."""
    table, runs = pd.read_csv(study), study.parents[1]
    records = {row["label"]: row for row in table.to_dict("records")}
    tables = {label: read_tables(runs / f"{row['kind']}s" / row["name"]) for label, row in records.items()}
    classes, ids = tables[rival].classes, tables[rival].ids
    found = {label: confusions_of(each.of(ids), classes) for label, each in tables.items()}
    draws, rare = Draws.of(tables[rival].groups), int(found[rival].sum((0, 2)).argmin())
    rows: list[dict[str, Any]] = []
    for label, own in found.items():
        record, iou_c = records[label], iou(draws, own, rare).whole_c
        row: dict[str, Any] = {"run": label, **{name: record[name] for name in KEPT}}
        row |= {new: record[old] for old, new in KERAS.items()}
        row |= {"classes": round(len(classes) * iou_c[0] / record["miou_keras"]), "miou": iou_c[0]}
        row |= {"background_pixels": background_pixels(tables[label], own), "labelled_pixels": int(own.sum())}
        row |= {"common": iou_c[-1]} | of_rarest(tables[label], own, rare)
        if label != rival:
            row |= differences(draws, own, found[rival], rare)
            if tables[label].classes == classes:
                row |= log_loss_difference(draws, tables[label].of(ids), tables[rival])
        rows.append(row)
    return rows


def write(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write a table with its conditions, and print it."""
    table = pd.DataFrame(rows).assign(cpu=cpu_name())
    write_bytes(path, table.to_csv(index=False, lineterminator="\n", float_format="%.6g").encode())
    print(table.round(4).to_string(index=False))


def draw(rows: Sequence[dict[str, Any]], rival: str, path: Path) -> None:
    """Draw the common classes of each run beside its log-loss, or beside both metrics if a run has a background."""
    table: Any = pd.DataFrame(rows)
    figure = new_figure(9.6, 1.6 + 0.3 * len(rows))
    left, right = figure.subplots(1, 2, sharey=True)
    if table.background_pixels.any():
        draw_metrics(left, table)
    else:
        draw_gains(left, table, "log_loss", 1, f"log-loss in nats: more than\n'{rival}' (less is better)")
    draw_gains(right, table, "common", 100, f"mean IoU of the common classes: points more than\n'{rival}'")
    name_rows(left, [name if len(name) <= LONGEST else f"... {name[-LONGEST:]}" for name in map(str, table.run)])
    save_png(figure, path, dpi=90)


def draw_metrics(axes: Axes, table: Any) -> None:
    """Draw the metric of Keras and the mIoU of each run, with the number of pixels that part them if it is small."""
    axes.hlines(table.index, 100 * table.keras, 100 * table.miou, color=RED, linewidth=1)
    axes.scatter(100 * table.keras, table.index, color=RED, s=30, label="Keras metric", marker="x")
    axes.scatter(100 * table.miou, table.index, color=BLUE, s=30, label="mIoU of the real classes")
    for place, row in table.iterrows():
        if row.background_pixels and row.background_pixels < 1000:
            text = f"{row.background_pixels} pixels called background"
            middle = 50 * (row.keras + row.miou)
            axes.annotate(text, (middle, place), (0, 3), textcoords="offset points", fontsize=6, ha="center")
    axes.legend(fontsize=7, loc="lower left")
    axes.set_xlabel("%", fontsize=8)


def draw_gains(axes: Axes, table: Any, score: str, factor: float, label: str) -> None:
    """Draw the differences in a score with their intervals; those far from all others are written at the edge."""
    gain, low, high = (factor * table[f"d_{score}{end}"].fillna(0.0) for end in ("", "_low", "_high"))
    near = gain.abs() <= 5 * gain[gain != 0].abs().median()
    interval_points(axes, table.index[near].to_numpy(), gain[near], low[near], high[near], BLUE)
    axes.axvline(0, color="black", linewidth=0.8)
    least, most = 1.1 * min(low[near].min(), 0), 1.1 * max(high[near].max(), 0)
    axes.set_xlim(least, most)
    for place in table.index[~near]:
        edge, text = (least, f" < {gain[place]:+.3g}") if gain[place] < 0 else (most, f"{gain[place]:+.3g} > ")
        axes.text(edge, place, text, color=RED, fontsize=7, va="center", ha="left" if gain[place] < 0 else "right")
    label_axis(axes, label)


def main() -> None:
    """Read the study, write the table, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="runs/studies/STUDY.csv")
    parser.add_argument("--rival", required=True, help="label of the run that all others are compared with")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    rows = rows_of(given.study, given.rival)
    write(rows, given.out)
    draw(rows, given.rival, given.out.with_suffix(".png"))


if __name__ == "__main__":
    main()

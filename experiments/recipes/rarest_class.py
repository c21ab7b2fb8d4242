"""Can the rarest class be found at all? What the members of a study know about it, whatever the decision.

    python experiments/recipes/rarest_class.py runs/studies/STUDY.csv mars.npz --out TABLE.csv

Reads the stored probabilities of each member and asks, about the class in the fewest labelled pixels:

- `iou`: its IoU as decided by the largest probability;
- `limit`: its largest IoU with any one threshold on its probability, chosen on the very pixels that are scored. No rule
  that looks at this probability alone does better, so it is an upper limit, and `limit_without_largest` that without
  the image with most of the class;
- `share`: its share of the labelled pixels, which is the IoU of calling every pixel so;
- `images_auc`: how often an image with the class has a larger mean probability of it than one without (chance: 0.5),
  with the 95 % interval of 1,000 resamples of the groups.

The picture `TABLE.png` shows the images with most of the class: for each member, where its probability of the class
ranks among those of all pixels of all images. The brightest pixels are the most likely ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from ensemble.combining.alignment import Aligned, align
from ensemble.config import DataSettings
from ensemble.core.files import write_bytes
from ensemble.core.palette import class_colours
from ensemble.core.void import VOID
from ensemble.data import open_dataset
from ensemble.evaluation import iou_per_class
from ensemble.inference.hardware import cpu_name
from ensemble.report.figures.drawing import save_png
from ensemble.report.figures.picture_grid import displayable, picture_grid
from ensemble.runs.member import Member

PICTURES, LEVELS, RESAMPLES = 6, 1 << 10, 1000
Counts = NDArray[np.int64]


def levels_of(probs: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return a level of 0 to LEVELS - 1 for each probability, finer where it is small: its root in LEVELS steps."""
    return np.minimum((np.sqrt(probs) * LEVELS).astype(np.int64), LEVELS - 1)


def counts_of(aligned: Aligned, rare: int) -> Counts:
    """Return (members, images, 2, LEVELS): labelled pixels that are not the class and that are, by its probability."""
    found = np.zeros((aligned.members, len(aligned.ids), 2, LEVELS), np.int64)
    for batch in aligned.batches():
        levels_mnhw = levels_of(batch.probs_mnchw[:, :, rare])
        for place, labels_hw in enumerate(batch.labels_nhw):
            known, row = labels_hw != VOID, batch.rows.start + place
            of = (labels_hw[known] == rare) * LEVELS
            for member in range(aligned.members):
                flat = np.bincount(of + levels_mnhw[member, place][known], minlength=2 * LEVELS)
                found[member, row] += flat.reshape(2, LEVELS)
    return found


def limit_of(counts_2l: Counts) -> float:
    """Return the largest IoU of the class with one threshold on its probability.

    >>> limit_of(np.array([[5, 1, 1], [0, 1, 3]]))  # three pixels and one other above the threshold, one below
    0.6666666666666666
    """
    wrong_l, right_l = counts_2l[:, ::-1].cumsum(1)
    return float((right_l / (counts_2l[1].sum() + wrong_l)).max())


def auc_of(counts_n2l: Counts, groups: Sequence[str]) -> dict[str, float]:
    """Return how well images with the class are told from others by its mean probability, with an interval."""
    pixels_n = counts_n2l.sum((1, 2))
    mean_n = (counts_n2l.sum(1) @ np.square(np.arange(LEVELS) / LEVELS)) / np.maximum(pixels_n, 1)
    has_n = counts_n2l[:, 1].sum(1) > 0
    _, group_n = np.unique(groups, return_inverse=True)
    generator, number = np.random.default_rng(0), int(group_n.max()) + 1
    if has_n.all():  # nothing to tell apart
        return dict.fromkeys(("images_auc", "images_auc_low", "images_auc_high"), np.nan)
    drawn = list[float]()
    for _ in range(RESAMPLES):
        weights_n = np.bincount(generator.integers(0, number, number), minlength=number)[group_n]
        if weights_n[has_n].any() and weights_n[~has_n].any():
            drawn.append(float(roc_auc_score(has_n, mean_n, sample_weight=weights_n)))
    low, high = np.percentile(drawn, [2.5, 97.5]).tolist()
    return {"images_auc": float(roc_auc_score(has_n, mean_n)), "images_auc_low": low, "images_auc_high": high}


def row_of(label: str, member: Member, rare: int, counts_n2l: Counts, groups: Sequence[str]) -> dict[str, Any]:
    """Return what one member knows about the class, and how good it is otherwise."""
    iou_k = iou_per_class(member.confusions().sum(0))
    largest = int(counts_n2l[:, 1].sum(1).argmax())
    total_2l = counts_n2l.sum(0)
    return {
        "run": label,
        "miou": float(iou_k.mean()),
        "common": float(np.delete(iou_k, rare).mean()),
        "iou": float(iou_k[rare]),
        "limit": limit_of(total_2l),
        "limit_without_largest": limit_of(total_2l - counts_n2l[largest]),
        "share": float(total_2l[1].sum() / total_2l.sum()),
        **auc_of(counts_n2l, groups),
        "images": len(counts_n2l),
        "images_with": int(np.count_nonzero(counts_n2l[:, 1].sum(1))),
    }


def draw(aligned: Aligned, labels: list[str], rare: int, counts_mn2l: Counts, data: Path, path: Path) -> None:
    """Draw the images with most of the class, and how likely each member takes each pixel for it."""
    dataset, colours = open_dataset(DataSettings(source=str(data))), class_colours(range(len(aligned.classes)))
    rows = sorted(np.argsort(-counts_mn2l[0, :, 1].sum(1), kind="stable")[:PICTURES].tolist())
    ranks_ml = counts_mn2l.sum((1, 2)).cumsum(1) / counts_mn2l[0].sum()
    columns: dict[str, list[Any]] = {"image": [], "mask": [], **{label: [] for label in labels}}
    for row, batch in zip(rows, aligned.images(rows), strict=True):
        columns["image"].append(displayable(dataset.image(dataset.ids.index(aligned.ids[row]))))
        columns["mask"].append(colours[batch.labels_nhw[0]])
        levels_mhw = levels_of(batch.probs_mnchw[:, 0, rare])
        for label, levels_hw, ranks_l in zip(labels, levels_mhw, ranks_ml, strict=True):
            columns[label].append(np.repeat((255 * ranks_l[levels_hw] ** 4).astype(np.uint8)[..., None], 3, -1))
    names = [str(aligned.ids[row]) for row in rows]
    save_png(picture_grid(list(columns.items()), aligned.classes, names), path, dpi=80)


def main() -> None:
    """Read the members of a study, write the table, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="runs/studies/STUDY.csv")
    parser.add_argument("data", type=Path, help="mars.npz")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    table = pd.read_csv(given.study).query("kind == 'member'")
    members = [Member.open(given.study.parents[1] / "members" / name) for name in table.name]
    aligned, labels = align(members), table.label.tolist()
    rare = int(members[0].confusions().sum((0, 2)).argmin())
    counts_mn2l = counts_of(aligned, rare)
    rows = [
        row_of(label, member, rare, counts_n2l, aligned.groups)
        for label, member, counts_n2l in zip(labels, members, counts_mn2l, strict=True)
    ]
    found = pd.DataFrame(rows).assign(cpu=cpu_name())
    write_bytes(given.out, found.to_csv(index=False, lineterminator="\n", float_format="%.6g").encode())
    draw(aligned, labels, rare, counts_mn2l, given.data, given.out.with_suffix(".png"))
    print(found.round(4).to_string(index=False))


if __name__ == "__main__":
    main()

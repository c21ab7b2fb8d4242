"""The pictures of one image: truth, class maps, errors and uncertainty, each with a text that says what it shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.arithmetic import first_class
from ensemble.combining.combiner import Combiner
from ensemble.data import VOID
from ensemble.evaluation.diversity import clipped_log
from ensemble.evaluation.uncertainty import entropy
from ensemble.report.pictures import class_map, error_map, heat_map_picture

Labels = NDArray[np.integer[Any]]
NAMED = 4  # classes that a text names


@dataclass(frozen=True)
class Tile:
    """One picture over the photograph.

    Attributes:
        title: what stands below it.
        alt: what it shows, for those who do not see it.
        png: the picture, base64.
    """

    title: str
    alt: str
    png: str


def tiles_of(
    probs_mchw: NDArray[np.float32],
    labels_hw: NDArray[np.uint8],
    pool: Combiner,
    classes: Sequence[str],
    members: Mapping[str, int],
    system: str,
) -> tuple[Tile, ...]:
    """Truth, class maps of some members and of the system, then the system's errors and entropy.

    Args:
        probs_mchw: probabilities of all members of the pool.
        labels_hw: labels, void 255.
        pool: how they are combined.
        classes: names of the classes.
        members: place among all members of those that get a picture of their own, by title.
        system: what the combination is called; without a name (one member alone) it gets no picture beside its member.
    """
    pooled_chw = pool(probs_mchw[:, None])[0]
    decided_hw = pool.decide(pooled_chw[None])[0]
    maps: dict[str, Labels] = {title: first_class(probs_mchw[m][None])[0] for title, m in members.items()}
    if system:
        maps[system] = decided_hw
    tiles = [Tile("truth", f"truth: {shares(labels_hw, classes)}", class_map(labels_hw, labels_hw, len(classes)))]
    for title, map_hw in maps.items():
        right = in_percent(accuracy(map_hw, labels_hw))
        alt = f"{title}: {shares(map_hw, classes)}; {right} of the labelled pixels right"
        tiles.append(Tile(f"{title}: {right} right", alt, class_map(map_hw, labels_hw, len(classes))))
    wrong = in_percent(1 - accuracy(decided_hw, labels_hw))
    tiles.append(Tile("errors (white)", f"errors: {wrong} of the labelled pixels", error_map(decided_hw, labels_hw)))
    most = math.log(len(classes))
    entropy_hw = entropy(pooled_chw, clipped_log(pooled_chw))
    alt = f"uncertainty: entropy {entropy_hw.mean():.2f} nats on average, of at most {most:.2f}"
    return (*tiles, Tile("uncertainty (yellow: unsure)", alt, heat_map_picture(entropy_hw, most)))


def accuracy(decided_hw: Labels, labels_hw: Labels) -> float:
    """Share of the labelled pixels that are right; NaN without any."""
    labelled = labels_hw != VOID
    return float((decided_hw == labels_hw)[labelled].mean()) if labelled.any() else math.nan


def in_percent(share: float) -> str:
    """A share in whole per cent, without any digits that it does not have."""
    return "none" if math.isnan(share) else f"{100 * share:.0f} %"


def shares(map_hw: Labels, classes: Sequence[str]) -> str:
    """The largest classes of a map with their shares of its pixels, void last.

    >>> shares(np.array([[0, 0], [1, 255]]), ["soil", "sand"])
    'soil 50 %, sand 25 %, void 25 %'
    """
    counts = np.bincount(map_hw.ravel().astype(np.intp), minlength=VOID + 1) / map_hw.size
    largest = [k for k in np.argsort(-counts[: len(classes)], kind="stable") if counts[k] > 0]
    told = {classes[k]: float(counts[k]) for k in largest[:NAMED]}
    told["other classes"] = float(counts[largest[NAMED:]].sum())
    told["void"] = float(counts[VOID])
    return ", ".join(f"{name} {in_percent(share)}" for name, share in told.items() if share)

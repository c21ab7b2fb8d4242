"""Draw the pictures of one image: truth, class maps, errors and uncertainty, each with its text alternative."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.arithmetic import first_class
from ensemble.combining.combiner import Combiner
from ensemble.core.formatting import in_percent
from ensemble.data import VOID
from ensemble.evaluation.diversity import clipped_log
from ensemble.evaluation.strips import PredictedBatch
from ensemble.evaluation.uncertainty import entropy
from ensemble.report.figures.thumbnails import class_map, error_map, heat_map_picture

Labels = NDArray[np.integer[Any]]
NAMED = 4  # classes that a text names


@dataclass(frozen=True)
class Tile:
    """A picture that lies over the photograph.

    Attributes:
        title: text below the picture.
        alt: description for readers who do not see the picture.
        png: the picture in base64.
    """

    title: str
    alt: str
    png: str


def maps_of(batch: PredictedBatch, pool: Combiner, members: Sequence[int]) -> tuple[NDArray[Any], ...]:
    """Return maps (h, w) of an image: labels, decisions of the pool, their entropy, and the class maps of members.

    Args:
        batch: probabilities of all members of the pool for one image, or for a strip of one.
        pool: combiner of the members.
        members: the members to draw among all members.
    """
    pooled_nchw = pool(batch.probs_mnchw)
    decided_hw, pooled_chw = batch.cut(pool.decide(pooled_nchw))[0].astype(np.uint8), batch.cut(pooled_nchw)[0]
    entropy_hw = entropy(pooled_chw, clipped_log(pooled_chw))
    maps = (first_class(batch.cut(batch.probs_mnchw[m]))[0].astype(np.uint8) for m in members)
    return batch.labels_nhw[0], decided_hw, entropy_hw, *maps


def tiles_of(
    maps_hw: Sequence[NDArray[Any]], classes: Sequence[str], members: Sequence[str], system: str
) -> tuple[Tile, ...]:
    """Draw truth, class maps of some members and of the system, then the system's errors and entropy.

    Args:
        maps_hw: the maps of `maps_of`, thinned for a large image.
        classes: names of the classes.
        members: titles of the members.
        system: title of the combination; empty for a single member, because its map is already drawn.
    """
    labels_hw, decided_hw, entropy_hw, *of_members = maps_hw
    maps: dict[str, Labels] = dict(zip(members, of_members, strict=True))
    if system:
        maps[system] = decided_hw
    tiles = [Tile("truth", f"truth: {shares(labels_hw, classes)}", class_map(labels_hw, labels_hw, len(classes)))]
    for title, map_hw in maps.items():
        right = in_percent(accuracy(map_hw, labels_hw), 0)
        alt = f"{title}: {shares(map_hw, classes)}; {right} of the labelled pixels are right"
        tiles.append(Tile(f"{title}: {right} right", alt, class_map(map_hw, labels_hw, len(classes))))
    wrong = in_percent(1 - accuracy(decided_hw, labels_hw), 0)
    tiles.append(Tile("errors (white)", f"errors: {wrong} of the labelled pixels", error_map(decided_hw, labels_hw)))
    largest = math.log(len(classes))
    alt = f"uncertainty: the mean entropy is {entropy_hw.mean():.2f} nats; the largest possible is {largest:.2f}"
    return (*tiles, Tile("uncertainty (yellow: unsure)", alt, heat_map_picture(entropy_hw, largest)))


def accuracy(decided_hw: Labels, labels_hw: Labels) -> float:
    """Return the share of the labelled pixels that are right; NaN without a labelled pixel."""
    labelled = labels_hw != VOID
    return float((decided_hw == labels_hw)[labelled].mean()) if labelled.any() else math.nan


def shares(map_hw: Labels, classes: Sequence[str]) -> str:
    """Return the largest classes of a map with their shares of its pixels, void last.

    >>> shares(np.array([[0, 0], [1, 255]]), ["soil", "sand"])
    'soil 50 %, sand 25 %, void 25 %'
    """
    share_k = np.bincount(map_hw.ravel().astype(np.intp), minlength=VOID + 1) / map_hw.size
    largest = [k for k in np.argsort(-share_k[: len(classes)], kind="stable") if share_k[k] > 0]
    parts = {classes[k]: float(share_k[k]) for k in largest[:NAMED]}
    parts["other classes"] = float(share_k[largest[NAMED:]].sum())
    parts["void"] = float(share_k[VOID])
    return ", ".join(f"{name} {in_percent(share, 0)}" for name, share in parts.items() if share)

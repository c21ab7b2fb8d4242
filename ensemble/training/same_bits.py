"""Compare two members of the same configuration bit by bit: weights, probabilities, scores and losses."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from ensemble.core.progress import Progress, no_progress
from ensemble.core.reading import guard
from ensemble.data import VOID
from ensemble.runs.layout import CONFUSIONS, HISTORY, weights_name
from ensemble.runs.member import Member
from ensemble.runs.store import Store, parts_of
from ensemble.training.determinism import differences

SCORES = ("miou", "pixel_accuracy", "log_loss", "ece")
COMPARED = 8 << 20  # bytes of codes of each store that are compared at once


@dataclass(frozen=True)
class Reproduction:
    """Differences between a member and its repetition.

    Attributes:
        name: name of the member.
        path: directory of the repetition, or None if it was temporary.
        files: names of the files whose numbers differ: weights, probabilities, confusion matrices.
        weights: largest relative difference of a weight, relative to the largest weight of its tensor.
        pixels: share of the labelled pixels whose class differs.
        scores: scores then and now by name; the IoU of a class is ``iou <class>``.
        epoch: first epoch (fold, epoch) whose training loss differs, or None.
        environment: differences of the environment by name, then and now.
    """

    name: str
    path: Path | None
    files: tuple[str, ...]
    weights: float
    pixels: float
    scores: dict[str, tuple[float | None, float | None]]
    epoch: tuple[int, int] | None
    environment: dict[str, tuple[Any, Any]]

    @property
    def exact(self) -> bool:
        """Whether weights, probabilities and scores are the same to the bit."""
        return not self.files and not self.scores_apart

    @property
    def scores_apart(self) -> float:
        """Largest difference of a score; infinite if only one of the two members has it."""
        pairs = [pair for pair in self.scores.values() if pair[0] != pair[1]]
        return max((np.inf if a is None or b is None else abs(a - b) for a, b in pairs), default=0.0)


def compare(then: Member, now: Member, progress: Progress = no_progress) -> Reproduction:
    """Compare two members of the same configuration; see `Reproduction`.

    Args:
        then: the member.
        now: its repetition.
        progress: callback that receives the progress.

    Raises:
        EnsError: weights, probabilities or history that cannot be read.
    """
    names = [weights_name(fold) for fold in range(then.settings.data.folds or 1)]
    weights = {name: _weights_apart(then.path / name, now.path / name) for name in names}
    splits = [split for split in ("validation", "test") if then.has_store(split)]
    stores = {f"probabilities/{split}": _store_apart(then.store(split), now.store(split), progress) for split in splits}
    confusions = np.array_equal(then.confusions(), now.confusions())
    return Reproduction(
        name=then.name,
        path=now.path,
        files=(
            *(name for name, apart in weights.items() if apart),
            *(name for name, apart in stores.items() if apart is not None),
            *(() if confusions else (CONFUSIONS,)),
        ),
        weights=max(weights.values()),
        pixels=stores["probabilities/validation"] or 0.0,
        scores=_scores(then, now),
        epoch=_first_epoch_apart(then, now),
        environment=differences(then.environment, now.environment),
    )


def _weights_apart(then: Path, now: Path) -> float:
    """Return the maximum over tensors of max |a - b| / max |a|; infinite if shapes differ or only a is all zeros."""
    with guard(then, "weights", "train the member again"):
        old, new = load_file(then), load_file(now)
    if {name: a.shape for name, a in old.items()} != {name: b.shape for name, b in new.items()}:
        return np.inf
    largest = 0.0
    for name, a in old.items():
        apart = float(np.abs(a.astype(np.float64) - new[name].astype(np.float64)).max(initial=0))
        scale = float(np.abs(a).max(initial=0))
        largest = max(largest, apart / scale if scale else (np.inf if apart else 0.0))
    return largest


def _store_apart(then: Store, now: Store, progress: Progress) -> float | None:
    """Return the share of the (labelled) pixels whose class differs, or None if the stores are equal."""
    if [chunk.digest for chunk in then.chunks] == [chunk.digest for chunk in now.chunks]:
        return None
    equal, apart, counted, readers = True, 0, 0, (then.reader(), now.reader())
    for part in parts_of(then.sizes, range(then.n), pixels=COMPARED // len(then.classes), most=64):
        (old, labels), (new, _) = (reader.read(part) for reader in readers)
        # Another version of the compressor writes other bytes for equal numbers.
        equal = equal and np.array_equal(old, new)
        known = np.ones_like(old[:, 0], bool) if labels is None else labels != VOID
        apart += int((old.argmax(1) != new.argmax(1))[known].sum())
        counted += int(known.sum())
        progress(f"comparing {then.split} images", part.images[-1] + 1, then.n)
    return None if equal else apart / counted


def _scores(then: Member, now: Member) -> dict[str, tuple[float | None, float | None]]:
    old, new = ({name: one.scores.get(name) for name in SCORES} for one in (then, now))
    old |= {f"iou {name}": value for name, value in then.scores["iou"].items()}
    new |= {f"iou {name}": value for name, value in now.scores["iou"].items()}
    return {name: (value, new.get(name)) for name, value in old.items()}


def _first_epoch_apart(then: Member, now: Member) -> tuple[int, int] | None:
    """Return the first (fold, epoch), both counted from 1, whose training loss differs, or None."""
    old, new = _history(then), _history(now)
    return next((at for at, loss in old.items() if new.get(at) != loss), None)


def _history(member: Member) -> dict[tuple[int, int], float]:
    with guard(member.path / HISTORY, "CSV", "train it again"), (member.path / HISTORY).open(newline="") as stream:
        return {(int(row["fold"]) + 1, int(row["epoch"])): float(row["train_loss"]) for row in csv.DictReader(stream)}

"""Step 8 of training: predict and score the validation images, predict the test images, and store both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray

from ensemble.core.progress import Progress
from ensemble.data import Dataset
from ensemble.evaluation.image import highest
from ensemble.evaluation.tally import Tally
from ensemble.inference.member_network import MemberNetwork
from ensemble.inference.network import Network, scored
from ensemble.inference.pooled_networks import Piece, PooledNetworks
from ensemble.runs.store import open_writer
from ensemble.training.plan import Plan


def scored_rows(plan: Plan) -> list[int]:
    """Return the validation rows in the order of the store: fold after fold."""
    return [int(row) for rows in plan.split.validation for row in rows]


def predict_validation(plan: Plan, networks: Sequence[Network], progress: Progress) -> tuple[Tally, float]:
    """Predict the validation rows of each fold with its network, which did not see them; store and score them.

    Returns:
        The tally, and the milliseconds per image (median over the batches).
    """
    dataset, tally, times = plan.dataset, Tally(len(plan.facts.classes)), list[float]()
    finished = 0
    with open_writer(plan.path, plan.facts, "validation", [dataset.ids[row] for row in scored_rows(plan)]) as writer:
        for fold, (network, rows_of_fold) in enumerate(zip(networks, plan.split.validation, strict=True)):
            member = MemberNetwork.of_fold(network, plan.settings, plan.facts, fold)
            for rows, pieces in _predicted(PooledNetworks.of_one(member), dataset, rows_of_fold.tolist(), progress):
                labels, seconds = dataset.labels(rows), list[float]()
                counted = (_count(piece, labels, tally, seconds) for piece in pieces)
                ids, groups = [dataset.ids[row] for row in rows], [plan.groups[row] for row in rows]
                writer.append_parts(ids, dataset.sizes[rows[0]], counted, labels, groups=groups)
                times.append(1000 * sum(seconds) / len(rows))
                finished += len(rows)
                progress("predicting validation images", finished, len(plan.split.scored))
    return tally, float(np.median(times))


def _predicted(
    predict: PooledNetworks, dataset: Dataset, rows: Sequence[int], progress: Progress
) -> Iterator[tuple[Sequence[int], Iterator[Piece]]]:
    """Yield rows of one size with what is predicted for them."""
    sizes = [dataset.sizes[row] for row in rows]
    each = predict.pieces(sizes, lambda numbers: dataset.images(rows[numbers.start : numbers.stop]), progress)
    for numbers, pieces in groupby(each, key=lambda piece: piece.numbers):
        yield rows[numbers.start : numbers.stop], pieces


def _count(piece: Piece, labels_nhw: NDArray[np.uint8], tally: Tally, seconds: list[float]) -> NDArray[np.float32]:
    """Score all outputs of a network, note how long they took, and return those of the scored classes."""
    outputs, labels = torch.from_numpy(piece.probs_nkhw), piece.cut(labels_nhw)
    probs = scored(outputs, tally.classes).numpy()
    raw = highest(piece.probs_nkhw.swapaxes(0, 1))[1] if outputs.shape[1] > tally.classes else None
    tally.add(probs, labels, raw_predictions_nhw=raw, strip=piece.strip)
    seconds.append(piece.seconds)
    return probs


def predict_test(plan: Plan, networks: Sequence[Network], progress: Progress) -> None:
    """Predict the unlabelled test images, if there are any, with the mean of the folds' networks, and store them."""
    dataset, settings = plan.dataset, plan.settings
    if not dataset.test_ids:
        return
    member = MemberNetwork(networks, settings, plan.facts, settings.device, key=plan.path.name)
    each = PooledNetworks.of_one(member).pieces(dataset.test_sizes, dataset.test_images, progress)
    with open_writer(plan.path, plan.facts, "test", dataset.test_ids) as writer:
        for numbers, pieces in groupby(each, key=lambda piece: piece.numbers):
            ids = dataset.test_ids[numbers.start : numbers.stop]
            probs = (piece.probs_nkhw for piece in pieces)
            writer.append_parts(ids, dataset.test_sizes[numbers.start], probs)
            progress("predicting test images", numbers.stop, len(dataset.test_ids))

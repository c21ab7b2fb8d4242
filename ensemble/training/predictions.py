"""Step 8 of training: predict and score the validation images, predict the test images, and store both."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from ensemble.core.progress import Progress
from ensemble.evaluation.scores import Tally
from ensemble.inference.network import Network, infer, mean_of_folds, scored
from ensemble.runs.store import open_writer
from ensemble.training.plan import Plan

PREDICT_BATCH = 32


def scored_rows(plan: Plan) -> list[int]:
    """Return the validation rows in the order of the store: fold after fold."""
    return [int(row) for rows in plan.split.validation for row in rows]


def predict_validation(plan: Plan, networks: Sequence[Network], progress: Progress) -> tuple[Tally, float]:
    """Predict the validation rows of each fold with its network, which did not see them; store and score them.

    Returns:
        The tally, and the milliseconds per image (median over the batches).
    """
    dataset, classes = plan.dataset, len(plan.facts.classes)
    tally, finished, total = Tally(classes), 0, len(plan.split.scored)
    times: list[float] = []
    with open_writer(plan.path, plan.facts, "validation", [dataset.ids[row] for row in scored_rows(plan)]) as writer:
        for network, rows_of_fold in zip(networks, plan.split.validation, strict=True):
            for start in range(0, len(rows_of_fold), PREDICT_BATCH):
                rows = rows_of_fold[start : start + PREDICT_BATCH].tolist()
                images, start_time = dataset.images(rows), time.perf_counter()
                outputs = infer(network, images, plan.settings, plan.settings.device)
                times.append(1000 * (time.perf_counter() - start_time) / len(rows))
                probs, labels = scored(outputs, classes).numpy(), dataset.labels(rows)
                raw = outputs.argmax(1).numpy() if outputs.shape[1] > classes else None
                tally.add(probs, labels, raw_predictions_nhw=raw)
                writer.append([dataset.ids[r] for r in rows], probs, labels, groups=[plan.groups[r] for r in rows])
                finished += len(rows)
                progress("predicting validation images", finished, total)
    return tally, float(np.median(times))


def predict_test(plan: Plan, networks: Sequence[Network], progress: Progress) -> None:
    """Predict the unlabelled test images, if there are any, with the mean of the folds' networks, and store them."""
    dataset, total = plan.dataset, len(plan.dataset.test_ids)
    if not total:
        return
    with open_writer(plan.path, plan.facts, "test", dataset.test_ids) as writer:
        for start in range(0, total, PREDICT_BATCH):
            rows = list(range(start, min(start + PREDICT_BATCH, total)))
            images = dataset.test_images(rows)
            probs = mean_of_folds(networks, images, plan.settings, len(plan.facts.classes), plan.settings.device)
            writer.append([dataset.test_ids[row] for row in rows], probs)
            progress("predicting test images", rows[-1] + 1, total)

"""Fit what labelled pixels alone do not show: when images stop, decisions of predicted images, sizes of objects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.alignment import Aligned
from ensemble.combining.by_fold import pool_by_fold
from ensemble.combining.cascade import Cascade
from ensemble.combining.decision import RULES, Decision, fit_decision
from ensemble.combining.fold_fits import FoldFits
from ensemble.combining.pipeline import DECISION_PIXELS, Pipeline
from ensemble.combining.pixel_sample import PixelSample
from ensemble.combining.small_objects import SIZES, SizeTable
from ensemble.combining.stopping import stop_early
from ensemble.core.progress import Progress


def fit_on_whole_images(
    aligned: Aligned, fits: Sequence[FoldFits], fold_n: NDArray[np.int64], progress: Progress
) -> list[FoldFits]:
    """Return the fits with all that `Pipeline.fit` leaves out, because it needs whole images.

    That is what ``keep_gain``, ``decide_from="images"`` and ``smallest_object="auto"`` ask for. Each of them takes one
    pass over the stores.

    Args:
        aligned: the members' stores.
        fits: the fitted pipelines.
        fold_n: fold of each image.
        progress: callback that receives the progress.

    Raises:
        EnsError: images that are too large for a cascade.
    """
    fits = _stop_early(aligned, fits, fold_n, progress)
    fits = _decide_from_images(aligned, fits, fold_n, progress)
    return _remove_small_objects(aligned, fits, fold_n, progress)


def _stop_early(
    aligned: Aligned, fits: Sequence[FoldFits], fold_n: NDArray[np.int64], progress: Progress
) -> list[FoldFits]:
    """Return the fits, the cascades with thresholds at which images stop."""
    found = list(fits)
    for place, fit in enumerate(fits):
        cascades = [pool for pool in fit.pools if isinstance(pool, Cascade)]
        if fit.pipeline.keep_gain is not None and len(cascades) == len(fit.pools):
            (pool, *folds), stopped = stop_early(aligned, cascades, fold_n, fit.pipeline.keep_gain, progress)
            found[place] = replace(fit, pool=pool, fold_pools=tuple(folds), stopped=stopped)
    return found


def _decide_from_images(
    aligned: Aligned, fits: Sequence[FoldFits], fold_n: NDArray[np.int64], progress: Progress
) -> list[FoldFits]:
    """Return the fits, those that decide from the predicted images with one decision for all images.

    Each image gives the probabilities of the pool of its own fold, which was fitted without it. All pixels count, void
    ones as well, because nobody knows the void of new images. So no label has a part in the decision, and it may come
    from the images that are scored.
    """
    asking = [place for place, fit in enumerate(fits) if fit.pipeline.decide_from == "images"]
    samples = {place: (PixelSample(DECISION_PIXELS), PixelSample(DECISION_PIXELS)) for place in asking}
    for batch in aligned.batches(halo=max(fit.reach for fit in fits)) if asking else ():
        for place, (honest, fitted) in samples.items():
            honest.add(batch.cut(pool_by_fold(fits[place].fold_pools, fold_n[batch.rows], batch.probs_mnchw)))
            fitted.add(batch.cut(fits[place].pool(batch.probs_mnchw)))
        progress("reading probabilities", batch.rows.stop, len(aligned.ids))
    found = list(fits)
    for place, (honest, fitted) in samples.items():
        shared, own = (_fit_decision(sample, fits[place].pipeline) for sample in (honest, fitted))
        pools = tuple(pool.deciding(shared) for pool in fits[place].fold_pools)
        found[place] = replace(fits[place], pool=fits[place].pool.deciding(own), fold_pools=pools)
    return found


def _fit_decision(sample: PixelSample, pipeline: Pipeline) -> Decision:
    return fit_decision(lambda: [sample.probs_cp], RULES[pipeline.decide])


def _remove_small_objects(
    aligned: Aligned, fits: Sequence[FoldFits], fold_n: NDArray[np.int64], progress: Progress
) -> list[FoldFits]:
    """Return the fits, those with ``smallest_object="auto"`` with the best sizes on the images that each pool knows.

    The pool of a fold decides the images of the other folds, whose labels choose its sizes; equal pools decide once.
    """
    tables: dict[int, list[SizeTable]] = {
        place: [SizeTable(len(aligned.classes)) for _ in fit.pools]
        for place, fit in enumerate(fits)
        if fit.pipeline.smallest_object == "auto"
    }
    for batch in aligned.batches(halo=max(SIZES[-1], *(fit.reach for fit in fits))) if tables else ():
        for place, each in tables.items():
            decided: dict[str, NDArray[np.intp]] = {}
            for number, (pool, table) in enumerate(zip(fits[place].pools, each, strict=True)):
                key, here_n = json.dumps(pool.to_json()), fold_n[batch.rows] != number - 1
                if key not in decided:
                    decided[key] = pool.decide_pixels(pool(batch.probs_mnchw))
                if here_n.any():
                    table.add(batch.labels_nhw[here_n], decided[key][here_n], batch.inside)
        progress("measuring small objects", batch.rows.stop, len(aligned.ids))
    found = list(fits)
    for place, each in tables.items():
        pool, *folds = (one.keeping(table.best()) for one, table in zip(fits[place].pools, each, strict=True))
        found[place] = replace(fits[place], pool=pool, fold_pools=tuple(folds))
    return found

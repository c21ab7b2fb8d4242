"""The simplest method that no other one beats, chosen without looking at the images it is scored on."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.arithmetic import first_class
from ensemble.combining.combiner import Combiner
from ensemble.combining.fit_data import FitData
from ensemble.combining.registry import COMBINERS, FIT_ERRORS, check_least, title, variants
from ensemble.core import threads
from ensemble.core.component_text import ComponentCall
from ensemble.core.threads import in_threads
from ensemble.evaluation.joint import joint_level
from ensemble.evaluation.paired import Draws

MOST = 200_000  # pixels that the methods are compared on
FIT_PIXELS = 70_000  # of them that a method is fitted on to be compared: enough for a few dozen parameters
RESAMPLES = 2_000


@COMBINERS.register("auto")
def auto(fit_data: FitData, *, folds: int = 3) -> Combiner:
    """The simplest method that no other one beats with its interval, by an inner cross-fit of all of them.

    Every method (with every choice of its options) is fitted on some image groups and scored on the others (on 200,000
    pixels, the fits on at most 70,000 of them); of those
    that no other one beats (paired interval of the difference in mIoU above 0) the first in the order of simplicity is
    taken and fitted on all groups. The intervals of all others against one hold together with 95 % (`joint_level`),
    because the best of many beats any method by chance. A method whose fit fails is left out. Cross-fitting ``auto``
    repeats the choice without each fold.

    Args:
        fit_data: the members' probabilities.
        folds: folds of the inner cross-fit.

    Reference:
        Varma and Simon, Bias in error estimation when using cross-validation for model selection, 2006 (nesting).
    """
    check_least("auto", 2, folds=folds)
    around = fit_data.near_mcp is not None
    candidates = [
        call for call in variants() if call.name != "auto" and (around or call.options.get("neighbourhood", 1) == 1)
    ]
    confusions_gskk, failed = _inner_confusions(fit_data.thin(MOST), candidates, folds)
    left = [place for place in range(len(candidates)) if place not in failed]
    while True:  # ends with the average at the latest, which fits nothing
        method, options = candidates[left.pop(simplest_unbeaten(confusions_gskk[:, left]))]
        try:
            chosen = COMBINERS.create(method, fit_data, **options)
        except FIT_ERRORS:
            if not left:
                raise
            continue
        return replace(cast(Any, chosen), chosen=title(method, options))


def simplest_unbeaten(confusions_gskk: NDArray[np.int64]) -> int:
    """Return the first system that no other one beats, from confusions (groups, systems, k, k), the simplest first."""
    confusions_gskk = confusions_gskk[confusions_gskk.any((1, 2, 3))]
    if len(confusions_gskk) < 2:
        return 0
    draws = Draws.of([str(group) for group in range(len(confusions_gskk))], resamples=RESAMPLES)
    scores = [draws.iou(confusions_gkk) for confusions_gkk in np.moveaxis(confusions_gskk, 1, 0)]

    for index, one in enumerate(scores):
        gains = [other.minus(one) for other in scores if other is not one]
        level = joint_level(gains)
        if not any(gain.estimate > 0 and gain.comparison(level=level).low > 0 for gain in gains):
            return index
    raise AssertionError("no system beats the one that scores best")


def _inner_confusions(
    fit_data: FitData, candidates: list[ComponentCall], folds: int
) -> tuple[NDArray[np.int64], set[int]]:
    """Return the confusions (groups, candidates, k, k) of an inner cross-fit, and the candidates whose fit failed."""
    shape = (int(fit_data.group_n.max()) + 1, len(candidates), fit_data.classes, fit_data.classes)
    confusions_gskk, failed = np.zeros(shape, np.int64), set[int]()
    for fit, held in fit_data.splits(folds):
        some = fit.thin(FIT_PIXELS)
        for index, found_gkk in enumerate(in_threads(partial(_confusions, some, held), candidates, threads.CORES)):
            if found_gkk is None:
                failed.add(index)
            else:
                confusions_gskk[:, index] += found_gkk
    return confusions_gskk, failed


def _confusions(fit: FitData, held: FitData, candidate: ComponentCall) -> NDArray[np.int64] | None:
    """Return the confusions (groups, k, k) of a method on the data that are held out; None if its fit fails."""
    try:
        pooled_cp = COMBINERS.create(candidate.name, fit, **candidate.options).on_pixels(held)
    except FIT_ERRORS:
        return None
    return held.confusions_gkk(first_class(pooled_cp[None])[0])

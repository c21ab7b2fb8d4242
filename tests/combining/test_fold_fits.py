"""Every fit of a fold sees the other folds only, and all fitted parts are fitted again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ensemble.combining import Combiner, Pool
from ensemble.combining.alignment import align
from ensemble.combining.crossfit import cross_fit
from ensemble.combining.fit_data import FitData
from ensemble.combining.pipeline import Pipeline
from ensemble.core.registry import Registry


def test_every_fit_sees_the_other_folds_only(aligned: Any, methods: Registry[Combiner]) -> None:
    fits: list[FitData] = []

    @methods.register("spy")
    def spy(fit_data: FitData) -> Pool:
        """Look at pixels, and remember what was shown."""
        assert fit_data.image_p.size
        fits.append(fit_data)
        return Pool.uniform(fit_data.members, fit_data.classes)

    done = cross_fit(aligned, Pipeline("spy"), folds=4)
    whole, *parts = fits
    assert set(whole.image_p.tolist()) == set(range(20))
    assert len(parts) == 4
    for fold, part in enumerate(parts):
        assert set(part.image_p.tolist()) == set(np.flatnonzero(done.fold_n != fold).tolist())
        assert len(part.image_p) == int((done.fold_n[whole.image_p] != fold).sum())


def test_a_fit_that_looks_at_no_images_gets_no_copies(aligned: Any, methods: Registry[Combiner]) -> None:
    fits: list[FitData] = []

    @methods.register("spy")
    def spy(fit_data: FitData) -> Pool:
        """Look at sizes, and remember what was shown."""
        fits.append(fit_data)
        return Pool.uniform(fit_data.members, fit_data.classes)

    cross_fit(aligned, Pipeline("spy"), folds=4)
    whole, *parts = (fit_data for fit_data in fits if hasattr(fit_data, "image_p"))
    assert len(parts) == 4
    assert all(part is whole for part in parts)


def test_every_fitted_part_is_fitted_without_the_fold(aligned: Any) -> None:
    done = cross_fit(aligned, Pipeline("average", calibrate="both", decide="offsets"), folds=4)
    assert done.was_fitted
    assert len({tuple(pool.temperatures_m) for pool in done.fold_pools}) == 4
    assert len({pool.temperature for pool in done.fold_pools}) == 4


def test_equal_weights_in_all_folds_are_fitted_all_the_same(tmp_path: Path, make_member: Callable[..., Any]) -> None:
    members = [make_member(tmp_path, f"net{quality}", quality=float(quality)) for quality in (0, 9)]
    done = cross_fit(align(members), Pipeline("greedy(bags=1)"), folds=2)
    assert {tuple(pool.weights_m) for pool in (done.pool, *done.fold_pools)} == {(0.0, 1.0)}
    assert done.was_fitted

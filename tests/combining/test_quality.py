"""Quality from stores: against one image at a time, in strips, in the ensemble, and where nothing can be said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import entropy

from ensemble.combining import alignment
from ensemble.combining.alignment import align
from ensemble.combining.combine import combine
from ensemble.combining.quality import Quality, information_of, measure_quality, sum_quality
from ensemble.core.errors import EnsError
from ensemble.evaluation.quality import WHOLE, fit_quality, out_of_fold, quality_sentence
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.member import Member
from tests.conftest import simulated_world


@pytest.fixture
def members(tmp_path: Path, make_member: Callable[..., Member]) -> list[Member]:
    world = simulated_world(images=60, size=(8, 8))  # 30 groups
    return [
        make_member(tmp_path, name, quality=quality, world=world) for name, quality in (("unet", 1.5), ("fpn", 2.5))
    ]


def test_estimates_are_those_of_single_images(members: list[Member], tmp_path: Path) -> None:
    done = combine(members, method="weighted(weights=[1, 2])", calibrate="pool", runs=tmp_path)
    aligned, fitted = done.aligned, done.fitted
    expected, information, truth = np.zeros(60), np.zeros(60), np.zeros(60)
    for n, batch in enumerate(aligned.images(range(60))):
        pool = fitted.fold_pools[fitted.fold_n[n]]
        probs = pool(batch.probs_mnchw)[0]
        decided, given = probs.argmax(0), batch.probs_mnchw[:, 0]
        share, ious = list[Any](), list[Any]()
        for k in range(4):
            hits, union = probs[k][decided == k].sum(), probs[k][decided != k].sum() + (decided == k).sum()
            if (decided == k).any():
                share.append(hits / max(union, 1))
            true = batch.labels_nhw[0] == k
            if true.any():
                labelled = batch.labels_nhw[0] != 255
                ious.append((true & (decided == k)).sum() / (labelled & (true | (decided == k))).sum())
        between = entropy(given.mean(0), axis=0) - entropy(given, axis=1).mean(0)
        expected[n], information[n], truth[n] = np.mean(share), between.mean(), np.mean(ious)
    features = np.column_stack([expected, information])
    model, content = fit_quality(features, truth, aligned.groups), Ensemble.open(done.ensemble.path).quality
    assert model is not None
    assert content is not None
    assert content[WHOLE]["coefficients"] == pytest.approx(model.coefficients, abs=1e-4)
    assert content[WHOLE]["width"] == pytest.approx(model.width, rel=1e-4)
    with np.load(done.ensemble.path / "confusions.npz") as tables:
        assert tables["quality"].shape == (60, 5, 3)
        np.testing.assert_allclose(tables["quality"][:, 0], out_of_fold(features, truth, aligned.groups), atol=1e-4)
    scores = done.ensemble.scores["quality"]
    assert set(scores) == {WHOLE, *aligned.classes}
    assert scores[WHOLE]["groups"] == 30
    assert scores[WHOLE]["spearman"] > 0
    assert "rank correlation" in quality_sentence(scores[WHOLE])


def test_strips_of_images_add_up(members: list[Member], monkeypatch: pytest.MonkeyPatch) -> None:
    def measured() -> Any:
        aligned = align(members)
        pool = combine(members, method="average", runs=members[0].path.parent.parent).fitted.pool
        return measure_quality(sum_quality(aligned, [pool], np.zeros(60, int), [0, 1]), aligned)

    whole = measured()
    monkeypatch.setattr(alignment, "BATCH_BYTES", 4 * 2 * 4 * 8 * 3)  # three rows of an image
    strips = measured()
    np.testing.assert_allclose(strips.found_nk3, whole.found_nk3, atol=1e-6)
    assert strips.scores[WHOLE]["coverage"] == whole.scores[WHOLE]["coverage"]


def test_only_members_that_predict_disagree(members: list[Member], tmp_path: Path) -> None:
    done = combine(members, method="weighted(weights=[0, 1])", runs=tmp_path)
    assert done.ensemble.quality is not None
    assert done.ensemble.quality[WHOLE]["coefficients"][2] == 0


def test_what_is_stored_is_read_back(members: list[Member], tmp_path: Path) -> None:
    ensemble = combine(members, method="average", runs=tmp_path).ensemble
    assert ensemble.quality is not None
    quality = Quality.from_json(ensemble.quality, ensemble.classes)
    assert json.loads(json.dumps(quality.to_json())) == ensemble.quality
    damaged = {name: {"width": 1} for name in ensemble.quality}
    with pytest.raises(EnsError, match=r"the stored estimate of quality is damaged .*; combine the members again"):
        Quality.from_json(damaged, ensemble.classes)


def test_few_groups_cannot_say(tmp_path: Path, make_member: Callable[..., Member]) -> None:
    world = simulated_world(images=18)  # nine groups
    given = [make_member(tmp_path, name, world=world) for name in ("unet", "fpn")]
    ensemble = combine(given, method="average", runs=tmp_path).ensemble
    assert ensemble.quality == dict.fromkeys((WHOLE, *world.classes))
    quality = Quality.from_json(ensemble.quality or {}, ensemble.classes)
    assert quality.cannot_say == (WHOLE, *world.classes)
    assert np.isnan(quality(np.ones((2, 4, 4)))).all()


def test_equal_members_have_no_information() -> None:
    probs = np.random.default_rng(0).dirichlet(np.ones(3), (1, 2, 4, 4)).transpose(0, 1, 4, 2, 3).astype(np.float32)
    np.testing.assert_allclose(information_of(probs.repeat(3, 0)), 0, atol=1e-6)

"""The cascade: image by image as written down by hand, cross-fitted, and saved without loss."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.combining.alignment import align
from ensemble.combining.cascade import ALWAYS, NEVER, Cascade, unsureness
from ensemble.combining.combine import combine
from ensemble.combining.crossfit import cross_fit
from ensemble.combining.fit_data import gather_fit_data
from ensemble.combining.pipeline import Pipeline
from ensemble.combining.pool import Pool
from ensemble.combining.serialization import active_members, load_combiner, read_pool
from ensemble.core.errors import EnsError
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.member import Member

Make = Callable[..., Any]
ORDER = (2, 0, 3)


def some_probs(images: int = 12, members: int = 4) -> Any:
    random = np.random.default_rng(0)
    sharp = np.linspace(0.2, 4, images)[:, None, None, None]
    logits = sharp * random.normal(size=(members, images, 3, 4, 5))
    exp = np.exp(logits)
    return (exp / exp.sum(2, keepdims=True)).astype(np.float32)


@pytest.fixture
def cascade() -> Cascade:
    stages = [Pool.uniform(size, 3) for size in (1, 2, 3)]
    return Cascade.of(stages, ORDER, 4).stopping((0.5, 0.9))


def by_hand(cascade: Cascade, probs: Any) -> tuple[Any, list[int]]:
    """Image by image: the mean of the first members, until the mean entropy is small enough."""
    pooled, stages, mean, stage = list[Any](), list[int](), None, 0
    for image in range(probs.shape[1]):
        for stage, threshold in enumerate((*cascade.thresholds, np.inf)):
            mean = probs[list(cascade.order[: stage + 1]), image].mean(0)
            if -(mean * np.log(mean)).sum(0).mean() <= threshold:
                break
        pooled.append(mean)
        stages.append(stage)
    return np.stack(pooled), stages


def test_it_is_what_is_written_down_by_hand(cascade: Cascade) -> None:
    probs = some_probs()
    expected, stages = by_hand(cascade, probs)
    assert set(stages) == {0, 1, 2}
    np.testing.assert_allclose(cascade(probs), expected, rtol=1e-5)


def test_only_the_images_that_need_it_are_predicted(cascade: Cascade) -> None:
    probs = some_probs()
    _, stages = by_hand(cascade, probs)
    asked = dict[int, list[int]]()

    def predict(place: int, rows: Any) -> Any:
        asked[place] = rows.tolist()
        return probs[place][rows]

    assert (cascade.by_need(predict, probs.shape[1]) == cascade(probs)).all()
    for stage, place in enumerate(ORDER):
        assert asked[place] == [image for image, last in enumerate(stages) if last >= stage]
    assert 1 not in asked


def test_thresholds_that_never_or_always_stop(cascade: Cascade) -> None:
    probs = some_probs()
    whole = Pool.uniform(3, 3)(probs[list(ORDER)])
    assert (cascade.stopping((NEVER, NEVER))(probs) == whole).all()
    assert (cascade.stopping((ALWAYS, NEVER))(probs) == Pool.uniform(1, 3)(probs[[2]])).all()


def test_it_survives_its_numbers_and_a_choice_of_members(cascade: Cascade) -> None:
    probs = some_probs()
    again = load_combiner(json.loads(json.dumps(cascade.to_json())))
    assert again.to_json() == cascade.to_json()
    assert (again(probs) == cascade(probs)).all()
    assert cascade.used == [0, 2, 3]
    fewer = cascade.only(cascade.used)
    assert (fewer(probs[cascade.used]) == cascade(probs)).all()
    more = fewer.among([0, 2, 3], 4)
    assert more.to_json() == cascade.to_json()


@pytest.mark.parametrize(
    "change",
    [
        {"order": [2, 0]},
        {"order": [2, 0, 9]},
        {"order": [2, 0, 0]},
        {"order": "abc"},
        {"thresholds": [0.1]},
        {"thresholds": [float("nan"), 1.0]},
        {"thresholds": None},
        {"stages": []},
        {"stages": [1, 2, 3]},
        {"stages": None},
        {"temperatures": [1.0, 1.0]},
    ],
)
def test_damaged_numbers_are_one_sentence(cascade: Cascade, change: dict[str, Any]) -> None:
    with pytest.raises(EnsError):
        load_combiner(cascade.to_json() | change)


def test_a_cascade_within_a_cascade_is_refused(cascade: Cascade) -> None:
    content = cascade.to_json()
    with pytest.raises(EnsError, match="damaged"):
        load_combiner(content | {"stages": [content, *content["stages"][1:]]})


@pytest.fixture
def members(tmp_path: Path, make_member: Make, make_world: Make) -> list[Member]:
    world = make_world(images=80)
    return [make_member(tmp_path, f"net{i}", quality=quality, world=world) for i, quality in enumerate((1.6, 2.0, 1.8))]


def test_on_pixels_it_is_the_same_if_all_are_labelled(members: list[Member]) -> None:
    """Every pixel with its label, so that images are as unsure as their labelled pixels."""
    aligned = align(members)
    fit_data = gather_fit_data(aligned)
    pool = Pipeline("average", keep_gain=0.5).fit(fit_data)
    assert isinstance(pool, Cascade)
    pool = pool.stopping((0.4, 0.5))
    found = pool.on_pixels(fit_data)
    for image in range(5):
        here = fit_data.image_p == image
        alone = pool(fit_data.probs_mcp[:, None, :, here][..., None])[0, :, :, 0]
        np.testing.assert_allclose(found[:, here], alone, rtol=1e-5)


def test_each_image_is_scored_by_the_cascade_of_its_fold(members: list[Member]) -> None:
    aligned = align(members)
    done = cross_fit(aligned, Pipeline("average", keep_gain=0.8), folds=4)
    (batch,) = list(aligned.batches(halo=done.pool.reach))
    assert done.stopped is not None
    for fold, pool in enumerate(done.fold_pools):
        assert isinstance(pool, Cascade)
        here = np.flatnonzero(done.fold_n == fold)
        expected, _ = by_hand(pool, batch.probs_mnchw[:, here])
        known = batch.labels_nhw[here] != 255
        true = np.take_along_axis(expected, np.where(known, batch.labels_nhw[here], 0)[:, None], 1)[:, 0]
        np.testing.assert_allclose(done.stopped.stopped_n[here], -(np.log(true) * known).sum((1, 2)), rtol=1e-4)
    np.testing.assert_allclose(done.stopped.stopped_n, done.crossfit.log_loss_n, rtol=1e-4)
    assert isinstance(done.pool, Cascade)
    assert done.stopped.evaluated_n.tolist() == [1 + stage for stage in by_hand(done.pool, batch.probs_mnchw)[1]]


def test_a_saved_cascade_reads_back_and_says_what_it_promises(members: list[Member]) -> None:
    done = combine(members, keep_gain=0.9, runs=members[0].path.parents[1])
    ensemble = Ensemble.open(done.ensemble.path)
    assert read_pool(ensemble).to_json() == done.fitted.pool.to_json()
    assert len(active_members(ensemble)[0]) == 3
    found = ensemble.scores["cascade"]
    assert 1 / 3 <= found["evaluations"]["share"] <= 1
    assert done.verdict.notes[0].startswith("Expected for new images (cross-fitted): ")
    assert f"{100 * found['kept']['share']:.0f} % ({100 * found['kept']['low']:.0f} to " in done.verdict.notes[0]
    assert done.verdict.rival == "the full ensemble"
    assert ensemble.settings.keep_gain == 0.9


@pytest.mark.parametrize("options", [{"decide": "expected-iou"}, {"decide": "offsets"}, {"calibrate": "both"}])
def test_it_goes_together_with(members: list[Member], options: dict[str, Any]) -> None:
    done = combine(members, keep_gain=0.9, smallest_object="auto", runs=members[0].path.parents[1], **options)
    pool = done.fitted.pool
    assert isinstance(pool, Cascade)
    assert pool.smallest_c is not None
    assert (pool.decision is not None) == (options.get("decide") == "expected-iou")
    assert (pool.offsets_c is not None) == (options.get("decide") == "offsets")
    assert (pool.stages[0].temperature != 1) == ("calibrate" in options)


@pytest.mark.parametrize("method", ["vote", "stacking", "geometric", "per-class", "greedy(bags=2)", "auto"])
def test_every_method_has_stages(members: list[Member], method: str) -> None:
    done = cross_fit(align(members), Pipeline(method, keep_gain=0.9), folds=2)
    assert isinstance(done.pool, Cascade)
    assert np.isfinite(done.crossfit.log_loss_n).all()


def test_large_validation_images_are_refused(members: list[Member], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ensemble.combining.stopping.WHOLE_PIXELS", 40)
    with pytest.raises(EnsError, match="at most 40 pixels for a cascade, because it decides image by image"):
        cross_fit(align(members), Pipeline(keep_gain=0.9))


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, float("nan")])
def test_a_share_is_above_0_and_up_to_1(share: float) -> None:
    with pytest.raises(EnsError, match="expected a share of the gain above 0 and up to 1"):
        Pipeline(keep_gain=share)


def test_unsureness_is_the_mean_entropy() -> None:
    probs = np.array([[[[0.5, 1.0]], [[0.5, 0.0]]]], np.float32)
    assert unsureness(probs) == pytest.approx([np.log(2) / 2], abs=1e-5)


def test_a_strip_is_read_as_a_whole_image(members: list[Member], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cross_fit(align(members), Pipeline("average", keep_gain=0.8))
    monkeypatch.setattr("ensemble.combining.alignment.BATCH_BYTES", 4 * 3 * 3 * 24)  # three rows
    strips = cross_fit(align(members), Pipeline("average", keep_gain=0.8))
    assert strips.pool.to_json() == whole.pool.to_json()
    assert (strips.crossfit.confusions_nkk == whole.crossfit.confusions_nkk).all()

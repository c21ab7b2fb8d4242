"""Cross-fitting: no image is scored by a pool that was fitted on its group, and a method that cheats is found out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.combining import COMBINERS, Combiner, Pool
from ensemble.combining.alignment import align
from ensemble.combining.crossfit import cross_fit, cross_fit_all
from ensemble.combining.decision import fit_decision
from ensemble.combining.fit_data import FitData
from ensemble.combining.methods import auto
from ensemble.combining.pipeline import Pipeline
from ensemble.combining.registry import variants
from ensemble.core import threads
from ensemble.core.errors import EnsError
from ensemble.core.registry import Registry
from ensemble.evaluation.confusion import confusion_per_image, mean_iou
from ensemble.evaluation.tally import Tally
from ensemble.evaluation.void import VOID
from ensemble.runs.member import Member

MakeMember = Callable[..., Member]
MakeWorld = Callable[..., Any]


def log_loss(tally: Tally) -> float:
    return float(tally.log_loss_n.sum() / tally.confusions_nkk.sum())


def test_groups_never_cross_folds(aligned: Any) -> None:
    done = cross_fit(aligned, Pipeline("average"))
    assert set(done.fold_n.tolist()) == set(range(5))
    for group in set(aligned.groups):
        assert len({int(fold) for fold, mine in zip(done.fold_n, aligned.groups, strict=True) if mine == group}) == 1


def test_each_image_is_scored_by_the_pool_of_its_fold(aligned: Any, methods: Registry[Combiner]) -> None:
    @methods.register("by-fold")
    def by_fold(fit_data: FitData) -> Pool:
        """Weights that differ from fold to fold."""
        weights = np.eye(3)[len(fit_data.image_p) % 3] + 0.1 * fit_data.image_p.mean() * np.eye(3)[0]
        column = weights[:, None].repeat(fit_data.classes, 1)
        return Pool(column, np.ones(3), offsets_c=np.array([0, 0, 0, 1.5]))

    done = cross_fit(aligned, Pipeline("by-fold"), folds=4)
    assert len({tuple(pool.weights_m) for pool in (*done.fold_pools, done.pool)}) > 3
    (_, probs, labels, *_), *_ = list(aligned.batches())
    for row in range(20):
        pool = done.fold_pools[done.fold_n[row]]
        expected = Tally(4)
        pooled = pool(probs[:, [row]])
        expected.add(pooled, labels[[row]], pool.decide(pooled))
        assert (done.crossfit.confusions_nkk[row] == expected.confusions_nkk[0]).all()
        assert done.crossfit.log_loss_n[row] == pytest.approx(expected.log_loss_n[0], rel=1e-6)
    whole = Tally(4)
    whole.add(done.pool(probs), labels, done.pool.decide(done.pool(probs)))
    assert (done.in_sample.confusions_nkk == whole.confusions_nkk).all()
    uniform = Tally(4)
    uniform.add(probs.mean(0), labels)
    assert log_loss(done.average) == pytest.approx(log_loss(uniform), rel=1e-5)
    for m in range(3):
        assert (done.members_mnkk[m] == confusion_per_image(labels, probs[m].argmax(1), 4)).all()


def test_a_method_that_memorises_looks_better_in_sample_than_cross_fitted(
    tmp_path: Path, make_member: MakeMember, make_world: MakeWorld, methods: Registry[Combiner]
) -> None:
    @methods.register("lucky")
    def lucky(fit_data: FitData) -> Pool:
        """The one member that happened to do best on what was shown."""
        best = np.log(fit_data.true_probs_pm).mean(0).argmax()
        return Pool.weighted(np.eye(fit_data.members)[best], fit_data.classes)

    world = make_world(images=12, size=(4, 4), group_size=1)
    noise = [make_member(tmp_path, "noise", seed=seed, quality=0.0, world=world) for seed in range(14)]
    done = cross_fit(align(noise), Pipeline("lucky"), folds=4)
    assert log_loss(done.in_sample) < log_loss(done.crossfit) - 0.03
    assert mean_iou(done.in_sample.confusions_nkk.sum(0)) > mean_iou(done.crossfit.confusions_nkk.sum(0))


def test_learned_is_no_better_cross_fitted_than_in_sample(aligned: Any) -> None:
    done = cross_fit(aligned, Pipeline("learned"))
    assert log_loss(done.in_sample) <= log_loss(done.crossfit)
    assert log_loss(done.crossfit) < log_loss(done.average)
    assert done.pool.weights_m.argmax() == 2


@pytest.mark.parametrize("method", ["average", "weighted(weights=[1, 2, 3])"])
def test_what_fits_nothing_scores_the_same_both_ways(aligned: Any, method: str) -> None:
    done = cross_fit(aligned, Pipeline(method))
    groups = aligned.groups
    assert done.crossfit.scores(groups, aligned.classes) == done.in_sample.scores(groups, aligned.classes)
    same = (done.crossfit.confusions_nkk == done.average.confusions_nkk).all()
    assert same == (method == "average")


def test_the_confusions_of_the_best_member_are_its_own(aligned: Any) -> None:
    done = cross_fit(aligned, Pipeline("average"))
    assert (done.best_member_nkk == done.members_mnkk[2]).all()


def test_one_labelled_image_is_scored_by_what_did_not_see_it(
    tmp_path: Path, make_member: MakeMember, make_world: MakeWorld
) -> None:
    world = make_world(images=6, group_size=1)
    masks = np.zeros_like(world.masks_nhw)
    masks[2] = world.masks_nhw[2]
    alone = replace(world, masks_nhw=masks)
    members = [make_member(tmp_path, f"net{i}", quality=4.0 * i, world=alone) for i in range(2)]
    done = cross_fit(align(members), Pipeline("learned"), folds=3)
    np.testing.assert_allclose(done.fold_pools[done.fold_n[2]].weights_m, [0.5, 0.5])
    assert done.pool.weights_m[1] > 0.9
    assert (done.crossfit.confusions_nkk == done.average.confusions_nkk).all()
    assert (done.members_mnkk[0, 2] != done.members_mnkk[1, 2]).any()
    assert (done.best_member_nkk[2] == done.members_mnkk[0, 2]).all()  # nothing elsewhere says which one is better


def test_folds_repeat_and_follow_the_seed(aligned: Any) -> None:
    first, again, other = (cross_fit(aligned, Pipeline("average"), seed=seed).fold_n for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_fewer_groups_than_folds_are_refused(aligned: Any) -> None:
    with pytest.raises(EnsError, match="expected at least 11 groups for 11 folds, got 10"):
        cross_fit(aligned, Pipeline("average"), folds=11)


@pytest.mark.parametrize("method", [name for name in COMBINERS if name != "weighted"])
def test_progress_reaches_the_end_of_every_task(aligned: Any, method: str) -> None:
    last: dict[str, tuple[int, int]] = {}

    def progress(task: str, done: int, total: int, note: str = "", /) -> None:
        last[task] = (done, total)

    cross_fit(aligned, Pipeline(method), progress=progress)
    assert last == {"reading probabilities": (20, 20), f"fitting {method}": (6, 6), "scoring": (20, 20)}


def test_a_fold_is_decided_by_expected_scores_of_the_other_folds(aligned: Any) -> None:
    done = cross_fit(aligned, Pipeline("average", decide="expected-iou"), folds=4)
    decisions = [pool.decision for pool in done.fold_pools]
    assert len({str(each.to_json()) for each in decisions if each}) == 4
    (_, probs, labels, *_), *_ = list(aligned.batches())
    pooled = probs.mean(0)
    for fold, decision in enumerate(decisions):
        seen = labels[done.fold_n != fold] != VOID
        others = pooled[done.fold_n != fold].swapaxes(0, 1)[:, seen]
        expected = fit_decision(lambda others=others: [others], "iou")
        assert decision is not None
        assert decision.expected_c == pytest.approx(expected.expected_c, rel=1e-4)
    assert done.was_fitted


def test_many_pipelines_score_as_each_alone(aligned: Any) -> None:
    pipelines = [
        Pipeline("average"),
        Pipeline("stacking(neighbourhood=3)"),
        Pipeline("greedy(bags=3)", decide="offsets"),
        Pipeline("learned", calibrate="both", top=2),
    ]
    for pipeline, together in zip(pipelines, cross_fit_all(aligned, pipelines, folds=3), strict=True):
        alone = cross_fit(aligned, pipeline, folds=3)
        assert together.pool.to_json() == alone.pool.to_json()
        assert (together.crossfit.confusions_nkk == alone.crossfit.confusions_nkk).all()
        assert (together.in_sample.log_loss_n == alone.in_sample.log_loss_n).all()
        assert together.was_fitted == (pipeline.name != "average")


def test_a_batch_of_any_size_gives_the_same_scores(aligned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Pipeline("stacking(neighbourhood=3)", calibrate="both", decide="offsets")
    whole = cross_fit(aligned, pipeline, folds=3)
    batches = type(aligned).batches
    monkeypatch.setattr(type(aligned), "batches", lambda self, **more: batches(self, 3, **more))
    parts = cross_fit(aligned, pipeline, folds=3)
    assert parts.pool.to_json() == whole.pool.to_json()
    assert (parts.crossfit.confusions_nkk == whole.crossfit.confusions_nkk).all()
    assert (parts.crossfit.log_loss_n == whole.crossfit.log_loss_n).all()


def test_threads_change_no_number(aligned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pipelines = [Pipeline(name) for name in ("learned", "greedy(bags=2, steps=4)", "per-class")]
    many = cross_fit_all(aligned, pipelines, folds=2)
    monkeypatch.setattr(threads, "CORES", 1)
    for one, other in zip(cross_fit_all(aligned, pipelines, folds=2), many, strict=True):
        assert one.pool.to_json() == other.pool.to_json()
        assert (one.crossfit.log_loss_n == other.crossfit.log_loss_n).all()


def test_equal_pools_are_scored_once(aligned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "variants", lambda: [call for call in variants() if call.name == "average"])
    average, chosen, learned = cross_fit_all(
        aligned, [Pipeline(name) for name in ("average", "auto", "learned")], folds=2
    )
    assert (average.pool.chosen, chosen.pool.chosen) == ("", "average")
    assert average.crossfit is chosen.crossfit
    assert learned.crossfit is not average.crossfit

"""Each image gets the pool, or the member, that was chosen without it."""

from __future__ import annotations

import numpy as np

from ensemble.combining import Pool
from ensemble.combining.by_fold import apply_by_fold, best_elsewhere, best_member_elsewhere
from ensemble.evaluation.confusion import mean_iou


def test_the_best_member_is_chosen_without_its_fold() -> None:
    good, bad = np.array([[9, 1], [0, 10]]), np.array([[1, 9], [9, 1]])
    # Member 0 is best on fold 0 alone, by far; without it member 1 is better.
    members_mnkk = np.array([[100 * good, bad, bad], [bad, good, good]])
    fold_n = np.array([0, 1, 2])
    chosen = best_elsewhere(members_mnkk, fold_n, lambda confusions: mean_iou(confusions.sum(1)))
    assert chosen.tolist() == [1, 0, 0]
    assert (best_member_elsewhere(members_mnkk, fold_n) == members_mnkk[chosen, range(3)]).all()


def test_a_batch_over_several_folds_is_pooled_image_by_image() -> None:
    probs = np.random.default_rng(0).dirichlet([1] * 3, (2, 4, 2, 2)).transpose(0, 1, 4, 2, 3).astype(np.float32)
    pools = [
        Pool.weighted(np.array([1.0, 0.0]), 3),
        Pool(np.ones((2, 3)), np.ones(2), offsets_c=np.array([0, 0, 50.0])),
    ]
    pooled, decided = apply_by_fold(pools, np.array([1, 0, 0, 1]), probs)
    assert (pooled[[1, 2]] == probs[0, [1, 2]]).all()
    np.testing.assert_allclose(pooled[[0, 3]], probs[:, [0, 3]].mean(0), rtol=1e-6)
    assert (decided[[0, 3]] == 2).all()
    assert (decided[[1, 2]] == probs[0, [1, 2]].argmax(1)).all()

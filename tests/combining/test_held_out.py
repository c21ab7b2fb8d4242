"""Held-out predictions and the evidence for promises: each image by the pool of its own fold, groups kept apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ensemble.combining.by_fold import apply_by_fold
from ensemble.combining.combine import Combination, combine
from ensemble.combining.held_out import HeldOut
from ensemble.combining.promises import confidence, gather_evidence
from ensemble.core.errors import EnsError
from ensemble.runs.member import Member

MakeMember = Callable[..., Member]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, make_member: MakeMember) -> Combination:
    runs = tmp_path_factory.mktemp("made")
    for place, quality in enumerate((0.5, 1.0, 2.0)):
        make_member(runs, f"net{place}", quality=quality)
    return combine(method="learned", decide="offsets", folds=4, runs=runs)


def test_an_ensemble_keeps_the_pools_of_its_folds(made: Combination) -> None:
    held_out, fitted = HeldOut.of(made.ensemble), made.fitted
    assert [pool.to_json() for pool in held_out.pools] == [pool.to_json() for pool in fitted.fold_pools]
    assert held_out.fold_n.tolist() == fitted.fold_n.tolist()
    confusions = np.zeros_like(fitted.crossfit.confusions_nkk)
    for mine, batch in zip(held_out.batches(), made.aligned.batches(), strict=True):
        probs, decided = apply_by_fold(fitted.fold_pools, fitted.fold_n[batch.rows], batch.probs_mnchw)
        np.testing.assert_array_equal(mine.probs_nchw, probs)
        np.testing.assert_array_equal(mine.decided_nhw, decided)
        for row, (labels, found) in enumerate(zip(mine.labels_nhw, mine.decided_nhw, strict=True), mine.rows.start):
            np.add.at(confusions[row], (labels[labels != 255], found[labels != 255]), 1)
    np.testing.assert_array_equal(confusions, fitted.crossfit.confusions_nkk)


def test_another_decision_is_that_of_the_given_pool(made: Combination) -> None:
    plain = HeldOut.of(made.ensemble).deciding_as(made.fitted.pool.deciding(None))
    for batch in plain.batches():
        np.testing.assert_array_equal(batch.decided_nhw, batch.probs_nchw.argmax(1))


def test_evidence_counts_every_labelled_pixel_under_its_group(made: Combination) -> None:
    held_out = HeldOut.of(made.ensemble)
    evidence, (batch,) = gather_evidence(held_out), held_out.batches()
    right, wrong = (set[tuple[int, float]](), set[tuple[int, float]]())
    for group in range(10):  # two images each
        rows = slice(2 * group, 2 * group + 2)
        labels, probs, decided = batch.labels_nhw[rows], batch.probs_nchw[rows], batch.decided_nhw[rows]
        sure, known = np.take_along_axis(probs, decided[:, None], 1)[:, 0], labels != 255
        for side, counts, seen in (
            (decided == labels, evidence.right, right),
            (decided != labels, evidence.wrong, wrong),
        ):
            values = sure[known & side]
            expected = (values[:, None] >= counts.thresholds_t).sum(0)
            assert counts.reaching([group])[0].tolist() == expected.tolist()
            seen |= {(group, float(value)) for value in values}
        for place, counts in enumerate(evidence.true_c):
            expected = (probs[:, place][labels == place][:, None] >= counts.thresholds_t).sum(0)
            assert counts.reaching([group])[0].tolist() == expected.tolist()
    assert right
    assert wrong


def test_confidence_is_the_probability_of_the_decided_class() -> None:
    probs = np.array([[[[0.7, 0.2]], [[0.3, 0.8]]]], np.float32)
    assert confidence(probs, np.array([[[1, 1]]])).tolist() == [[[np.float32(0.3), np.float32(0.8)]]]


def test_a_member_needs_no_folds(made: Combination) -> None:
    member = made.ensemble.members()[2]
    (mine,), (batch,) = HeldOut.of(member).batches(), made.aligned.batches()
    np.testing.assert_allclose(mine.probs_nchw, batch.probs_mnchw[2], rtol=1e-6)


def test_an_ensemble_of_an_older_version_is_refused_by_a_sentence(made: Combination) -> None:
    older = replace(made.ensemble, fold_pools=())
    text = f"expected an ensemble that keeps the pools of its folds, but an older version made {older.name}; combine"
    with pytest.raises(EnsError, match=text):
        HeldOut.of(older)

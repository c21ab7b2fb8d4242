"""Pairwise measures against tables worked out by hand, the oracle, and the identity of the log-loss."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy as relative_entropy

from ensemble.core.errors import EnsError
from ensemble.evaluation import iou_per_class, mean_iou, pixel_accuracy
from ensemble.evaluation.diversity import LossSplit, PairTally, clipped_log

CLASSES = 3


def tally_of(decided: Any, labels: Any, classes: int = CLASSES) -> PairTally:
    tally = PairTally(len(decided), classes)
    tally.add(np.asarray(decided), np.asarray(labels))
    return tally


def random_decisions(seed: int, members: int = 4, pixels: int = 200) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, pixels)
    decided = np.where(random.random((members, pixels)) < 0.6, labels, random.integers(0, CLASSES, (members, pixels)))
    return decided, labels


def test_a_table_worked_out_by_hand() -> None:
    # truth 0 0 1 1 2 2 2 2; the first errs on pixels 1 and 4, the second on 1 and 5: N11 5, N10 1, N01 1, N00 1
    labels = [0, 0, 1, 1, 2, 2, 2, 2]
    first = [0, 1, 1, 1, 0, 2, 2, 2]
    second = [0, 2, 1, 1, 2, 0, 2, 2]
    tally = tally_of([first, second], labels)
    assert tally.error_m.tolist() == [0.25, 0.25]
    assert tally.disagreement_mm.tolist() == [[0, 0.375], [0.375, 0]]  # pixels 1 (both wrong), 4 and 5
    assert tally.double_fault_mm.tolist() == [[0.25, 0.125], [0.125, 0.25]]
    assert tally.error_correlation_mm[0, 1] == pytest.approx((5 * 1 - 1 * 1) / math.sqrt(6 * 2 * 6 * 2))
    assert tally.q_statistic_mm[0, 1] == pytest.approx((5 * 1 - 1 * 1) / (5 * 1 + 1 * 1))
    assert tally.oracle_accuracy == 7 / 8
    assert tally.oracle_confusion().tolist()[1:] == [[0, 2, 0], [0, 0, 4]]


@pytest.mark.parametrize("seed", range(3))
def test_correlation_is_that_of_the_error_indicators(seed: int) -> None:
    decided, labels = random_decisions(seed)
    expected = np.corrcoef((decided != labels).astype(float))
    np.testing.assert_allclose(tally_of(decided, labels).error_correlation_mm, expected, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_confusions_and_measures_equal_loops(seed: int) -> None:
    from sklearn.metrics import confusion_matrix

    decided, labels = random_decisions(seed)
    tally = tally_of(decided, labels)
    for member, one in enumerate(decided):
        np.testing.assert_array_equal(tally.confusions_mkk[member], confusion_matrix(labels, one))
        for place, other in enumerate(decided):
            assert tally.disagreement_mm[member, place] == pytest.approx(np.mean(one != other))
            assert tally.double_fault_mm[member, place] == pytest.approx(np.mean((one != labels) & (other != labels)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**16), st.integers(0, 200))
def test_tables_are_symmetric_and_add_up_over_batches(seed: int, cut: int) -> None:
    decided, labels = random_decisions(seed)
    whole, parts = tally_of(decided, labels), PairTally(len(decided), CLASSES)
    for part in (slice(cut), slice(cut, None)):
        parts.add(decided[:, part], labels[part])
    for name in ("disagreement_mm", "double_fault_mm", "error_correlation_mm", "q_statistic_mm"):
        table = getattr(whole, name)
        np.testing.assert_array_equal(table, table.T)
        np.testing.assert_array_equal(table, getattr(parts, name))
    np.testing.assert_array_equal(whole.oracle_confusion(), parts.oracle_confusion())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**16))
def test_identical_members_do_not_differ(seed: int) -> None:
    decided, labels = random_decisions(seed, members=1)
    tally = tally_of(np.repeat(decided, 3, axis=0), labels)
    assert not tally.disagreement_mm.any()
    np.testing.assert_allclose(tally.double_fault_mm, tally.error_m[0])
    np.testing.assert_allclose(tally.error_correlation_mm, 1)
    np.testing.assert_array_equal(tally.oracle_confusion(), tally.confusions_mkk[0])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**16), st.integers(1, 5), st.integers(1, 60))
def test_the_oracle_is_at_least_the_best_member(seed: int, members: int, pixels: int) -> None:
    decided, labels = random_decisions(seed, members, pixels)
    tally = tally_of(decided, labels)
    oracle = tally.oracle_confusion()
    assert mean_iou(oracle) >= mean_iou(tally.confusions_mkk).max() - 1e-12
    best = tally.confusions_mkk[mean_iou(tally.confusions_mkk).argmax()]
    present = ~np.isnan(iou_per_class(oracle)) & ~np.isnan(iou_per_class(best))
    assert (iou_per_class(oracle)[present] >= iou_per_class(best)[present] - 1e-12).all()
    assert pixel_accuracy(oracle) == pytest.approx(tally.oracle_accuracy)
    np.testing.assert_array_equal(oracle.sum(1), np.bincount(labels, minlength=CLASSES))


def test_a_member_without_error_has_no_correlation() -> None:
    tally = tally_of([[0, 1, 2], [0, 1, 1]], [0, 1, 2])
    assert math.isnan(tally.error_correlation_mm[0, 1])
    assert math.isnan(tally.q_statistic_mm[0, 1])


def test_wrong_shapes_are_explained() -> None:
    with pytest.raises(EnsError, match=r"decisions of 2 members .* got shapes \(3, 4\) and \(4,\)"):
        PairTally(2, CLASSES).add(np.zeros((3, 4), int), np.zeros(4, int))


# ---------------------------------------------------------------- the split of the log-loss


def random_probs(seed: int, members: int = 3, pixels: int = 50, sharpness: float = 2.0) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    logits = sharpness * random.normal(size=(members, CLASSES, pixels))
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True), random.integers(0, CLASSES, pixels)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**16), st.integers(1, 5), st.floats(0.1, 4))
def test_members_minus_diversity_is_the_geometric_mean(seed: int, members: int, sharpness: float) -> None:
    probs, labels = random_probs(seed, members, 50, sharpness)
    split = LossSplit(CLASSES)
    split.add(np.log(probs), labels)
    geometric = np.exp(np.log(probs).mean(0))
    geometric /= geometric.sum(0)
    pixels = np.arange(len(labels))
    diversity_p = relative_entropy(geometric[None], probs, axis=1).mean(0)  # mean KL(g || p_m), by scipy
    expected = {
        "members": -np.log(probs[:, labels, pixels]).mean(0),
        "diversity": diversity_p,
        "geometric": -np.log(geometric[labels, pixels]),
        "average": -np.log(probs.mean(0)[labels, pixels]),
    }
    expected["ambiguity"] = expected["members"] - expected["average"]
    for name, sums_k in split.sums.items():
        np.testing.assert_allclose(sums_k, np.bincount(labels, expected[name], minlength=CLASSES), atol=1e-6)
    assert (split.sums["diversity"] >= -1e-9).all()
    assert (split.sums["ambiguity"] >= -1e-9).all()


def test_identical_members_have_no_diversity_and_zero_probability_is_finite() -> None:
    probs = np.repeat(np.array([[[1.0], [0.0], [0.0]]], np.float32), 2, axis=0)
    split = LossSplit(CLASSES)
    split.add(clipped_log(probs), np.array([1]))
    assert split.sums["members"].tolist() == pytest.approx([0, -math.log(1e-7), 0])
    assert split.sums["diversity"][1] == pytest.approx(0, abs=1e-6)
    assert split.sums["ambiguity"][1] == pytest.approx(0, abs=1e-5)
    assert split.pixels_k.tolist() == [0, 1, 0]

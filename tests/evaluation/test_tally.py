"""The tables of a system: one row per image, whatever the batches."""

from __future__ import annotations

import numpy as np
import pytest

from tests.evaluation.test_scores import random_case, tally_of

CLASSES = ("soil", "rock", "sand")
GROUPS = [f"scene-{row // 2}" for row in range(20)]


@pytest.mark.parametrize("size", [1, 3, 10])
def test_the_batch_size_changes_nothing(size: int) -> None:
    probs, labels = random_case()
    whole, parts = tally_of(probs, labels), tally_of(probs, labels, size)
    assert (whole.confusions_nkk == parts.confusions_nkk).all()
    assert (whole.log_loss_n == parts.log_loss_n).all()
    one, other = (each.scores(GROUPS, CLASSES, resamples=50) for each in (whole, parts))
    assert one == other


def test_tables_hold_one_matrix_per_image() -> None:
    probs, labels = random_case()
    raw = np.full(labels.shape, 3)
    plain = tally_of(probs, labels).arrays()
    shapes = {"confusions": (20, 3, 3), "log_loss": (20,), "brier": (20,), "reliability": (20, 3, 15)}
    shapes |= {"brier_per_class": (20, 3), "reliability_per_class": (20, 3, 3, 15)}
    shapes |= {"boundary": (20, 3, 4), "objects": (20, 3, 4, 4)}
    assert {name: table.shape for name, table in plain.items()} == shapes
    assert plain["confusions"].dtype == plain["boundary"].dtype == np.int64
    assert (plain["confusions"].sum((1, 2)) == (labels != 255).sum((1, 2))).all()
    assert (plain["reliability"][:, 0].sum(1) == (labels != 255).sum((1, 2))).all()
    with_raw = tally_of(probs, labels, 4, raw_predictions_nhw=raw).arrays()
    assert with_raw["raw_confusions"].shape == (20, 3, 4)
    assert (with_raw["raw_confusions"][..., 3].sum(1) == (labels != 255).sum((1, 2))).all()

"""A member's sums must be possible with its stored codes."""

from __future__ import annotations

import numpy as np

from ensemble.combining.recompute_members import code_limits
from ensemble.evaluation.calibration import probability_tables
from ensemble.runs.store import encode


def test_probabilities_lie_within_the_limits_of_their_codes() -> None:
    noise = np.random.default_rng(0)
    logits = noise.normal(0, 4, (4, 5, 12, 9))
    probs = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)
    labels = noise.integers(0, 5, (4, 12, 9)).astype(np.uint8)
    labels[:, :2] = 255
    tables = probability_tables(probs, labels)
    sums = np.concatenate([tables.log_loss_n[:, None], tables.brier_nk], axis=1)
    low, high = code_limits(encode(probs), labels)
    assert ((low <= sums) & (sums <= high)).all()
    assert (high - low < 0.35 * sums + 0.2).all()  # tight enough to notice a better score

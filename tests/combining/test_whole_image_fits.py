"""Predicted images decide together, without their labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.combining.alignment import align
from ensemble.combining.by_fold import pool_by_fold
from ensemble.combining.crossfit import cross_fit
from ensemble.combining.decision import fit_decision
from ensemble.combining.pipeline import Pipeline
from ensemble.runs.member import Member

MakeMember = Callable[..., Member]
MakeWorld = Callable[..., Any]


def test_predicted_images_decide_together_without_a_label(
    tmp_path: Path, make_member: MakeMember, make_world: MakeWorld
) -> None:
    """All images have one decision, from all pixels by the pools of their folds; other labels change nothing."""
    world = make_world()
    members = [make_member(tmp_path, f"net{i}", quality=1.0 + i, world=world) for i in range(2)]
    shown = align(members)
    done = cross_fit(shown, Pipeline("learned", decide="expected-iou", decide_from="images"), folds=4)
    found = [pool.decision for pool in (*done.fold_pools, done.pool) if pool.decision]
    assert len(found) == 5
    assert len({str(each.to_json()) for each in found[:4]}) == 1
    pooled = np.concatenate(
        [
            pool_by_fold(done.fold_pools, done.fold_n[batch.rows], batch.probs_mnchw).swapaxes(0, 1).reshape(4, -1)
            for batch in shown.batches()
        ],
        axis=1,
    )
    expected = fit_decision(lambda: [pooled], "iou")
    assert found[0].expected_c == pytest.approx(expected.expected_c, rel=1e-6)
    assert found[0].sizes_c == pytest.approx(expected.sizes_c, rel=1e-6)

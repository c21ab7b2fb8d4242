"""The recipe that asks what members know about the rarest class."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import precision_recall_curve, roc_auc_score

from ensemble.core.void import VOID
from ensemble.runs.member import Member

SCRIPT = Path(__file__).parents[2] / "experiments" / "recipes" / "rarest_class.py"


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


def test_the_limit_is_the_best_point_of_the_precision_recall_curve(recipe: dict[str, Any]) -> None:
    generator, levels_count = np.random.default_rng(0), recipe["LEVELS"]
    truth = generator.random(2000) < 0.1
    levels = np.minimum((generator.beta(1 + 2 * truth, 4) * levels_count).astype(int), levels_count - 1)
    counts_2l = np.stack([np.bincount(levels[truth == value], minlength=levels_count) for value in (False, True)])
    precision, recall, _ = precision_recall_curve(truth, levels)
    found, called = recall * truth.sum(), recall * truth.sum() / np.maximum(precision, 1e-12)
    assert recipe["limit_of"](counts_2l) == pytest.approx(np.max(found / (truth.sum() + called - found)))


def test_a_study_ends_in_a_table_and_a_picture(
    recipe: dict[str, Any],
    tiny_arrays: dict[str, Any],
    train_tiny: Callable[..., Member],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs, data = tmp_path / "runs", tmp_path / "rare.npz"
    training = tiny_arrays["training_set"].copy()
    masks = training[::2, 1]
    masks[masks == 2] = 1  # every other image has no rock
    np.savez(data, **tiny_arrays | {"training_set": training})
    members = [train_tiny(runs, data=data, folds=2, seed=seed) for seed in (0, 1)]
    study = runs / "studies" / "tiny.csv"
    study.parent.mkdir()
    rows = [{"label": f"run {place}", "name": member.name, "kind": "member"} for place, member in enumerate(members)]
    pd.DataFrame([*rows, {"label": "average", "name": "average-2", "kind": "ensemble"}]).to_csv(study, index=False)
    out = tmp_path / "table.csv"
    monkeypatch.setattr(sys, "argv", ["rarest_class.py", str(study), str(data), "--out", str(out)])
    recipe["main"]()
    found = pd.read_csv(out)
    assert found.run.tolist() == ["run 0", "run 1"]
    store = members[0].store()
    probs, labels = (np.concatenate(part) for part in zip(*(b[1:] for b in store.batches()), strict=True))
    rare = members[0].facts.classes.index("rock")
    mean = [float(p[rare][known].mean()) for p, known in zip(probs, labels != VOID, strict=True)]
    has = (labels == rare).any((1, 2))
    assert found.images_with[0] == has.sum() == 12
    assert found.share[0] == pytest.approx((labels == rare).sum() / (labels != VOID).sum(), rel=1e-5)
    assert found.images_auc[0] == pytest.approx(roc_auc_score(has, mean), abs=0.05)  # probabilities in steps
    assert (found.iou <= found.limit + 0.02).all()  # of three classes, the largest probability is nearly a threshold
    assert (found.limit >= found.share).all()
    with Image.open(out.with_suffix(".png")) as picture:
        assert picture.size > (400, 200)

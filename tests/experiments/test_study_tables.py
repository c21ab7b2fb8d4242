"""The recipes that make a table of a finished study: of the rarest class, and of the common ones."""

from __future__ import annotations

import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import precision_recall_curve, roc_auc_score

from ensemble import results
from ensemble.core.void import VOID
from ensemble.runs.member import Member

RECIPES = Path(__file__).parents[2] / "experiments" / "recipes"


@pytest.fixture(scope="module")
def study(
    tiny_arrays: dict[str, Any], train_tiny: Callable[..., Member], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The table of a study of two members; every other image of the data has no rock."""
    root = tmp_path_factory.mktemp("study")
    runs, data, training = root / "runs", root / "rare.npz", tiny_arrays["training_set"].copy()
    masks = training[::2, 1]
    masks[masks == 2] = 1
    np.savez(data, **tiny_arrays | {"training_set": training})
    for seed in (0, 1):
        train_tiny(runs, data=data, folds=2, seed=seed)
    table = results.load(runs).sort_values("seed").assign(group=None, label=["run 0", "run 1"])
    path = runs / "studies" / "tiny.csv"
    path.parent.mkdir()
    table.to_csv(path, index=False)
    return path


def members_of(study: Path) -> list[Member]:
    return [Member.open(study.parents[1] / "members" / name) for name in pd.read_csv(study).name]


def run(recipe: str, arguments: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a recipe as a person does."""
    monkeypatch.setattr(sys, "argv", [recipe, *map(str, arguments)])
    runpy.run_path(str(RECIPES / recipe), run_name="__main__")


def test_the_limit_is_the_best_point_of_the_precision_recall_curve() -> None:
    recipe = runpy.run_path(str(RECIPES / "rarest_class.py"))
    generator, count = np.random.default_rng(0), recipe["LEVELS"]
    truth = generator.random(2000) < 0.1
    levels = np.minimum((generator.beta(1 + 2 * truth, 4) * count).astype(int), count - 1)
    counts_2l = np.stack([np.bincount(levels[truth == value], minlength=count) for value in (False, True)])
    precision, recall, _ = precision_recall_curve(truth, levels)
    found, called = recall * truth.sum(), recall * truth.sum() / np.maximum(precision, 1e-12)
    assert recipe["limit_of"](counts_2l) == pytest.approx(np.max(found / (truth.sum() + called - found)))


def test_what_members_know_about_the_rarest_class(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, member = tmp_path / "table.csv", members_of(study)[0]
    run("rarest_class.py", [study, study.parents[2] / "rare.npz", "--out", out], monkeypatch)
    found = pd.read_csv(out)
    assert found.run.tolist() == ["run 0", "run 1"]
    batches = list(member.store().batches())
    probs, labels = np.concatenate([batch[1] for batch in batches]), np.concatenate([batch[2] for batch in batches])  # pyright: ignore[reportCallIssue, reportArgumentType]
    rare = member.facts.classes.index("rock")
    mean = [float(p[rare][known].mean()) for p, known in zip(probs, labels != VOID, strict=True)]
    has = (labels == rare).any((1, 2))
    assert found.images_with[0] == has.sum() == 12
    assert found.share[0] == pytest.approx((labels == rare).sum() / (labels != VOID).sum(), rel=1e-5)
    assert found.images_auc[0] == pytest.approx(roc_auc_score(has, mean), abs=0.05)  # probabilities in steps
    assert (found.iou <= found.limit + 0.02).all()  # of three classes, the largest probability is nearly a threshold
    assert (found.limit >= found.share).all()
    with Image.open(out.with_suffix(".png")) as picture:
        assert picture.size > (400, 200)


def test_runs_are_compared_by_their_common_classes(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, members = tmp_path / "table.csv", members_of(study)
    run("common_classes.py", [study, "--rival", "run 0", "--out", out], monkeypatch)
    found = pd.read_csv(out).set_index("run")
    for member, (_, row) in zip(members, found.iterrows(), strict=True):
        iou = member.scores["iou"]
        assert row.common == pytest.approx((iou["soil"] + iou["ripples"]) / 2, rel=1e-5)
        assert row.rare == pytest.approx(iou["rock"], rel=1e-5)
        assert (row.keras, row.classes) == (pytest.approx(member.scores["miou_keras"], rel=1e-5), 3)
        truth = member.confusions().sum(0)[member.facts.classes.index("rock")]
        assert row.rare_area == pytest.approx(truth[member.facts.classes.index("rock")] / truth.sum(), rel=1e-5)
        assert row.rare_images == 12
        recall = member.scores["object_recall_per_class"]["rock"]
        assert row.rare_objects_found / row.rare_objects == pytest.approx(recall, rel=1e-5)
    second = found.loc["run 1"]
    assert second.d_log_loss == pytest.approx(second.log_loss - found.log_loss["run 0"], abs=1e-5)
    assert second.d_log_loss_low < second.d_log_loss < second.d_log_loss_high
    assert second.d_common == pytest.approx(second.common - found.common["run 0"], abs=1e-5)
    assert second.d_miou == pytest.approx(second.miou - found.miou["run 0"], abs=1e-5)
    assert second.d_common_low < second.d_common < second.d_common_high
    assert pd.isna(found.d_common["run 0"])


def test_a_run_with_a_background_is_scored_on_the_pixels_of_the_others(
    study: Path, train_tiny: Callable[..., Member], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(study.parents[1], runs)
    member = train_tiny(runs, data=study.parents[2] / "rare.npz", folds=2, background="class")
    rows = pd.read_csv(study)
    added = results.load(runs).query("name == @member.name").assign(label="background")
    pd.concat([rows, added]).to_csv(runs / "studies" / "tiny.csv", index=False)
    out = tmp_path / "table.csv"
    run("common_classes.py", [runs / "studies" / "tiny.csv", "--rival", "run 0", "--out", out], monkeypatch)
    row = pd.read_csv(out).set_index("run").loc["background"]
    assert member.facts.classes == ("background", "soil", "rock", "ripples")
    labelled = member.confusions().sum(0)[1:]  # true background is void for the others
    hits = np.diagonal(labelled[:, 1:])
    iou = hits / (labelled.sum(1) + labelled[:, 1:].sum(0) - hits)
    assert row.common == pytest.approx((iou[0] + iou[2]) / 2, rel=1e-5)
    assert row.miou == pytest.approx(iou.mean(), rel=1e-5)
    assert row.classes == (4 if labelled[:, 0].any() else 3)
    assert row.keras == pytest.approx(iou.sum() / row.classes, rel=1e-5)
    assert row.background_pixels == labelled[:, 0].sum()

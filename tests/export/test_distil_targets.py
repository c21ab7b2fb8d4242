"""What a student is taught: the pool is fitted without the scored fold, and every target is what the teachers say."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ensemble.combining.combine import combine
from ensemble.combining.fit_data import FitData, gather_fit_data
from ensemble.combining.pipeline import Pipeline
from ensemble.core.void import VOID
from ensemble.data.soft_targets import Place
from ensemble.export.distil import distil
from ensemble.export.distil_plan import DistilPlan, plan_distil
from ensemble.export.distil_targets import Curriculum, joined
from ensemble.inference.network import infer, load_networks
from ensemble.runs.member import Member
from ensemble.runs.store import decode, encode

Train = Callable[..., Member]
STUDENT: dict[str, Any] = {
    **{"arch": "unet-baseline(filters=2, depth=1)", "loss": "ce", "epochs": 1, "batch_size": 4},
    **{"device": "cpu", "precision": "fp32"},
}


@pytest.fixture(scope="module")
def taught(train_tiny: Train, tmp_path_factory: pytest.TempPathFactory) -> DistilPlan:
    """The plan of a student whose teachers are trained."""
    runs = tmp_path_factory.mktemp("targets") / "runs"
    members = [train_tiny(runs, seed=seed, folds=3, tta="hflip" if seed else "none") for seed in (0, 1)]
    path = combine(members, method="average", calibrate="members", runs=runs, folds=2).ensemble.path
    distil(path, runs=runs, **STUDENT)
    return plan_distil(path, runs=runs, unlabelled="test", **STUDENT)


def curriculum_of(plan: DistilPlan, path: Path) -> Curriculum:
    student = replace(plan.student, path=path)
    return Curriculum(student, plan.ensemble, plan.members, plan.folds, plan.unlabelled.images)


def test_targets_are_the_pooled_predictions_of_the_teachers(taught: DistilPlan, tmp_path: Path) -> None:
    curriculum = curriculum_of(taught, tmp_path)
    fold, plan = 1, taught.student
    soft = curriculum(fold, plan.training(fold)).soft
    assert soft is not None
    soft.prepare()
    pool = curriculum.fit(fold, [curriculum.aligned(part) for part in taught.folds[fold]])
    seen = list[int]()
    for part in taught.folds[fold]:
        aligned = curriculum.aligned(part)
        for place, row in enumerate(part.rows.tolist()):
            each = [next(store.batches(rows=[place]))[1] for store in aligned.stores]
            expected = encode(pool(np.stack(each)))[0]
            np.testing.assert_array_equal(np.moveaxis(soft.read([Place(row)])[0], -1, 0), expected)
            seen.append(row)
    assert sorted(seen) == plan.training_rows(fold).tolist()


def test_unlabelled_images_are_predicted_by_the_networks_of_the_fold(taught: DistilPlan, tmp_path: Path) -> None:
    curriculum, fold = curriculum_of(taught, tmp_path), 2
    soft = curriculum(fold, taught.student.training(fold)).soft
    assert soft is not None
    soft.prepare()
    pool = curriculum.fit(fold, [curriculum.aligned(part) for part in taught.folds[fold]])
    images = taught.student.dataset.test_images(range(5))
    each = [infer(load_networks(member)[fold], images, member.settings, "cpu").numpy() for member, _ in taught.members]
    codes = soft.read([Place(row) for row in soft.unlabelled])
    np.testing.assert_allclose(decode(np.moveaxis(codes, -1, 1)), pool(np.stack(each)), atol=0.02)


def test_what_is_missing_is_written_again_to_the_same_bytes(taught: DistilPlan, tmp_path: Path) -> None:
    curriculum = curriculum_of(taught, tmp_path)
    soft = curriculum(0, taught.student.training(0)).soft
    assert soft is not None
    (tmp_path / "targets" / "f1").mkdir(parents=True)
    soft.prepare()
    assert [folder.name for folder in (tmp_path / "targets").iterdir()] == ["f0"]
    before = {file.name: file.read_bytes() for file in soft.folder.iterdir()}
    rows = taught.student.training_rows(0).tolist()
    soft.file(rows[3]).unlink()
    soft.file(soft.unlabelled[1]).write_bytes(b"damaged")
    soft.prepare()
    assert {file.name: file.read_bytes() for file in soft.folder.iterdir()} == before


def test_the_pool_of_a_fold_is_fitted_to_its_training_images_alone(taught: DistilPlan, tmp_path: Path) -> None:
    curriculum = curriculum_of(taught, tmp_path)
    parts = [curriculum.aligned(part) for part in taught.folds[0]]
    scored = {taught.student.dataset.ids[row] for row in taught.student.split.validation[0]}
    assert scored.isdisjoint(name for aligned in parts for name in aligned.ids)
    each = [gather_fit_data(aligned) for aligned in parts]
    expected = Pipeline("average", "members").fit(joined(each, [aligned.groups for aligned in parts]))
    assert curriculum.fit(0, parts).to_json() == expected.to_json()


def test_joined_pixels_keep_their_images_and_groups() -> None:
    noise = np.random.default_rng(0)
    one, two = (
        FitData(
            noise.random((2, 3, pixels), np.float32),
            np.arange(pixels, dtype=np.int32) % images,
            noise.integers(0, 3, pixels).astype(np.uint8),
            np.zeros(images, np.intp),
        )
        for pixels, images in ((7, 3), (4, 2))
    )
    both = joined([one, two], [["b", "a", "b"], ["c", "a"]])
    np.testing.assert_array_equal(both.probs_mcp[:, :, 7:], two.probs_mcp)
    np.testing.assert_array_equal(both.image_p, [0, 1, 2, 0, 1, 2, 0, 3, 4, 3, 4])
    np.testing.assert_array_equal(both.labels_p, np.concatenate([one.labels_p, two.labels_p]))
    np.testing.assert_array_equal(both.group_n, [1, 0, 1, 2, 0])
    assert both.near_mcp is None


def test_given_weights_stay_and_temperatures_that_know_all_labels_go(train_tiny: Train, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    members = [train_tiny(runs, seed=seed) for seed in range(3)]
    made = combine(members, method="weighted(weights=[1, 0, 3])", calibrate="both", runs=runs, folds=2)
    plan = plan_distil(made.ensemble.path, runs=runs, **STUDENT)
    pool = curriculum_of(plan, tmp_path).fit(0, [])
    np.testing.assert_allclose(pool.weights_m, [0.25, 0.75])
    assert (pool.temperatures_m.tolist(), pool.temperature) == ([1.0, 1.0], 1.0)


def test_windows_of_images_of_other_sizes(train_tiny: Train, tiny_arrays: dict[str, Any], tmp_path: Path) -> None:
    """Unlabelled images that are larger and smaller than a window; pixels outside of an image teach nothing."""
    runs, photos = tmp_path / "runs", tmp_path / "photos"
    photos.mkdir()
    noise = np.random.default_rng(0)
    for name, size in (("large", (100, 80)), ("small", (20, 120))):
        Image.fromarray(noise.integers(0, 256, size, dtype=np.uint8)).save(photos / f"{name}.png")
    double = {name: tiny_arrays[name].repeat(2, -1).repeat(2, -2) for name in ("training_set", "test_set")}
    np.savez_compressed(tmp_path / "double.npz", **(tiny_arrays | double))
    members = [train_tiny(runs, data=tmp_path / "double.npz", seed=seed) for seed in (0, 1)]
    path = combine(members, method="average", runs=runs, folds=2).ensemble.path
    more: dict[str, Any] = STUDENT | {"crop": "32x32", "augment": "hflip + scale"}
    found = distil(path, runs=runs, unlabelled=str(photos), unlabelled_share=0.5, **more)
    assert found.member.settings.crop == (32, 32)
    plan = plan_distil(path, runs=runs, unlabelled=str(photos), unlabelled_share=0.5, **more)
    curriculum = curriculum_of(plan, tmp_path / "again")
    training = curriculum(0, plan.student.training(0))
    assert training.soft is not None
    training.soft.prepare()
    small = len(plan.student.dataset.ids) + [Path(name).name for name in plan.unlabelled.images.ids].index("small")
    places = training.places([small], [False], np.random.default_rng(0))
    codes, (_, labels) = training.soft.read(places), training.read(places)
    assert codes.shape == (1, 32, 32, 3)
    assert ((codes == VOID).all((0, 2, 3)).sum(), (labels == VOID).all()) == (12, True)
    shutil.rmtree(tmp_path / "again")

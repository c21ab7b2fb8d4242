"""A student is taught honestly, resumed to the same bits, and a member like any other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.combining.combine import combine
from ensemble.combining.recompute import recompute_runs
from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress
from ensemble.export import distil_teachers
from ensemble.export.distil import distil
from ensemble.export.distil_plan import DistilPlan, plan_distil
from ensemble.export.make_bundle import bundle
from ensemble.export.refit import refit
from ensemble.inference.load import load
from ensemble.results import load as load_table
from ensemble.results import notes
from ensemble.runs.bundle import open_bundle
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.member import Member
from ensemble.runs.verify import verify
from ensemble.training.reproduce import reproduce

Train = Callable[..., Member]
STUDENT: dict[str, Any] = {
    **{"arch": "unet-baseline(filters=3, depth=1)", "loss": "ce", "epochs": 2, "batch_size": 4, "lr": 2e-2},
    **{"device": "cpu", "precision": "fp32"},
}


def make(train: Train, runs: Path, **changes: Any) -> Path:
    """Train two members and combine them."""
    for seed in (0, 1):
        train(runs, seed=seed, **changes)
    return combine(method="learned", calibrate="pool", runs=runs, folds=2).ensemble.path


@pytest.fixture(scope="module")
def in_folds(train_tiny: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ensemble of two members with three folds."""
    return make(train_tiny, tmp_path_factory.mktemp("distil") / "runs", folds=3)


@pytest.fixture(scope="module")
def student(in_folds: Path) -> Member:
    """A student of it that has seen the test images."""
    return distil(in_folds, runs=in_folds.parents[1], unlabelled="test", **STUDENT).member


@pytest.fixture
def copied(in_folds: Path, student: Member, tmp_path: Path) -> Path:
    """A copy of the ensemble with its members, their teachers and the student."""
    runs = Path(shutil.copytree(in_folds.parents[1], tmp_path / "runs"))
    return runs / "ensembles" / in_folds.name


def weights(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.glob("weights-*"))}


# ---------------------------------------------------------------- honesty


def npz_without(tiny_arrays: dict[str, Any], folder: Path, changed: slice) -> Path:
    """Write the tiny data with two classes exchanged in the masks of some images."""
    folder.mkdir()
    both = tiny_arrays["training_set"].copy()
    masks = both[changed, 1]
    both[changed, 1] = np.where(masks == 1, 2, np.where(masks == 2, 1, masks))
    np.savez_compressed(folder / "tiny.npz", **(tiny_arrays | {"training_set": both}))
    return folder / "tiny.npz"


def taught_in_given_folds(train: Train, npz: Path, split: Path) -> Member:
    runs = npz.parent / "runs"
    path = make(train, runs, data=npz, split=str(split))
    return distil(path, runs=runs, unlabelled="test", **STUDENT).member


def test_labels_of_the_scored_fold_change_nothing_that_its_network_learns(
    train_tiny: Train, tiny_arrays: dict[str, Any], tmp_path: Path
) -> None:
    split = tmp_path / "split.csv"
    lines = [f"{row},{row // 8}" for row in range(24)]
    split.write_text("\n".join(["id,fold", *lines]))
    first = taught_in_given_folds(train_tiny, npz_without(tiny_arrays, tmp_path / "a", slice(0, 0)), split)
    other = taught_in_given_folds(train_tiny, npz_without(tiny_arrays, tmp_path / "b", slice(0, 8)), split)
    same = {name: content == weights(other.path)[name] for name, content in weights(first.path).items()}
    assert same == {"weights-f0.safetensors": True, "weights-f1.safetensors": False, "weights-f2.safetensors": False}


@pytest.mark.parametrize(("changes", "sets"), [({"folds": 3}, 3), ({"folds": 2}, 6), ({"val_fraction": 0.3}, 3)])
def test_no_target_comes_from_a_network_that_saw_the_image_or_the_scored_fold(
    changes: dict[str, Any], sets: int, train_tiny: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: dict[Path, set[int]] = {}
    train_fold = distil_teachers.train_fold

    def spy(job: Any, *more: Any) -> Any:
        learned[job.checkpoint.parent] = set(job.training_rows.tolist())
        return train_fold(job, *more)

    monkeypatch.setattr(distil_teachers, "train_fold", spy)
    plans: list[DistilPlan] = []
    path = make(train_tiny, tmp_path / "runs", **changes)
    distil(path, runs=tmp_path / "runs", inner_folds=3, on_plan=plans.append, **STUDENT)
    (plan,) = plans
    split, ids = plan.student.split, plan.student.dataset.ids
    assert learned.keys() == {teacher.folder for teacher in plan.teachers}
    for fold, parts in enumerate(plan.folds):
        predicted = [row for part in parts for row in part.rows.tolist()]
        assert sorted(predicted) == split.training(fold).tolist()
        for part in parts:
            for member, its_plan in plan.members:
                teacher = distil_teachers.Teacher(member, its_plan, part.held_out)
                assert teacher.store(part.place).ids == tuple(ids[row] for row in part.rows)
                assert len(learned[teacher.folder]) >= 4
                assert learned[teacher.folder].isdisjoint(part.rows.tolist())
                assert learned[teacher.folder].isdisjoint(split.validation[fold].tolist())
    assert len(plan.teachers) == len(plan.members) * sets


# ---------------------------------------------------------------- kept and resumed


def stopping(task: str, at: int) -> Progress:
    def progress(name: str, done: int, total: int, note: str = "", /) -> None:
        if name == task and done >= at:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize(
    ("task", "at"),
    [
        ("teacher 2 of 6: training", 5),
        ("teacher 3 of 6: predicting", 1),
        ("writing targets", 9),
        ("writing targets", 19),
        ("training fold 2 of 3", 5),
        ("predicting validation images", 8),
    ],
)
def test_an_interrupted_student_is_resumed_to_the_same_bits(task: str, at: int, copied: Path, student: Member) -> None:
    runs, path = copied.parents[1], copied.parents[1] / "members" / student.name
    shutil.rmtree(path)
    for folder in runs.glob("members/*/teachers"):
        shutil.rmtree(folder)
    with pytest.raises(KeyboardInterrupt):
        distil(copied, runs=runs, unlabelled="test", progress=stopping(task, at), **STUDENT)
    again = distil(copied, runs=runs, unlabelled="test", **STUDENT)
    assert again.member.path == path
    assert weights(path) == weights(student.path)
    assert again.member.fingerprint == student.fingerprint
    assert not (path / "targets").exists()
    assert not list(runs.glob("members/*/teachers/*/*.pt"))
    assert not list(runs.glob("members/*/teachers/*/weights*"))


def test_a_second_student_needs_no_new_teachers_and_the_same_call_trains_nothing(
    copied: Path, student: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = copied.parents[1]
    monkeypatch.setattr(distil_teachers, "train_fold", lambda *_: pytest.fail("a teacher was trained again"))
    found = distil(copied, runs=runs, label_share=0.2, on_plan=lambda plan: found_missing(plan, 6), **STUDENT)
    assert found.member.name != student.name
    assert found.member.settings.taught is not None
    assert not found.member.settings.taught.saw_test
    before = weights(runs / "members" / student.name)
    same = distil(copied, runs=runs, unlabelled="test", on_plan=lambda plan: found_missing(plan, 6), **STUDENT)
    assert same.member.name == student.name
    assert weights(same.member.path) == before


def found_missing(plan: DistilPlan, teachers: int) -> None:
    assert (len(plan.teachers), plan.missing) == (teachers, [])


def test_damaged_predictions_of_a_teacher_are_made_again(copied: Path, student: Member) -> None:
    plan = plan_distil(copied, runs=copied.parents[1], **STUDENT)
    (next(plan.teachers[2].folder.glob("part-0/manifest.json"))).write_text("{}")
    assert [plan.teachers.index(each) for each in plan.missing] == [2]


# ---------------------------------------------------------------- a member like any other


def test_a_member_without_a_weight_has_a_say_in_the_classes(train_tiny: Train, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    plain = train_tiny(runs)
    others = [train_tiny(runs, seed=seed, background="class") for seed in range(2)]
    ensemble = combine([plain, *others], method="weighted(weights=[0, 1, 3])", runs=runs, folds=2).ensemble
    found = distil(ensemble.path, runs=runs, inner_folds=2, unlabelled="test", **STUDENT)
    assert found.member.facts.classes == ensemble.classes == plain.facts.classes != others[0].facts.classes
    assert all(np.isfinite(gain.student) for gain in found.judged.gains)


def test_the_student_is_scored_combined_bundled_and_predicts(copied: Path, student: Member, tiny_arrays: Any) -> None:
    runs = copied.parents[1]
    mine = Member.open(runs / "members" / student.name)
    assert mine.scores["protocol"] == "out-of-fold"
    assert mine.store().ids == Ensemble.open(copied).members()[0].store().ids
    assert load(mine.path)(tiny_arrays["test_set"]).shape == (5, 3, 32, 32)
    pooled = combine([mine, *Ensemble.open(copied).members()], method="average", runs=runs, folds=2)
    table = load_table(runs).set_index("name", drop=False)
    assert table.loc[mine.name, "student"] == table.loc[pooled.ensemble.name, "student"] == "saw test images"
    assert table.loc[copied.name, "student"] == "no"
    (said,) = (note for note in notes(table.reset_index(drop=True)) if "test images" in note)
    assert "learned from the test images, without their labels (`ens distil`)" in said
    assert mine.name in said
    assert pooled.ensemble.name in said
    out = runs.parent / "student.ens"
    bundle(mine.path, out, latency=False)
    card = open_bundle(out).read("card.md").decode()
    assert f"A student: it learned from the labels and from the probabilities of the ensemble {copied.name}" in card
    assert "It has seen the test images of these data without their labels" in card
    assert verify(runs).problems == []
    found = recompute_runs(runs)
    assert (found.differences, found.failed) == ([], [])


def test_what_would_train_it_without_its_teachers_is_refused(copied: Path, student: Member) -> None:
    path = copied.parents[1] / "members" / student.name
    for call in (lambda: refit(path, runs=copied.parents[1]), lambda: reproduce(path)):
        with pytest.raises(EnsError, match=f"is a student of {copied.name}, .* repeat `ens distil`"):
            call()

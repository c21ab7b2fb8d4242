"""The plan of a student: who teaches it, and mistakes that are found before anything is trained."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.combining.combine import combine
from ensemble.core.errors import EnsError
from ensemble.export import distil_plan
from ensemble.export.distil import distil
from ensemble.export.distil_plan import plan_distil
from ensemble.export.refit import refit
from ensemble.importing.import_member import import_member
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.member import Member
from ensemble.training import plan_again
from tests.export.test_distil import STUDENT, make

Train = Callable[..., Member]


@pytest.fixture(scope="module")
def in_folds(train_tiny: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ensemble of two members with three folds."""
    return make(train_tiny, tmp_path_factory.mktemp("distil") / "runs", folds=3)


def test_groups_of_images_are_not_cut_by_inner_parts(train_tiny: Train, tmp_path: Path) -> None:
    plan = plan_distil(make(train_tiny, tmp_path / "runs"), runs=tmp_path / "runs", **STUDENT)
    groups = [{plan.student.groups[row] for row in part.rows} for part in plan.folds[0]]
    assert len(groups) == 4
    assert sum(map(len, groups)) == len(set.union(*groups))


def test_only_members_with_a_weight_teach(train_tiny: Train, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    members = [train_tiny(runs, seed=seed) for seed in range(3)]
    path = combine(members, method="weighted(weights=[1, 0, 3])", runs=runs, folds=2).ensemble.path
    plan = plan_distil(path, runs=runs, **STUDENT)
    assert [member.name for member, _ in plan.members] == [members[0].name, members[2].name]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"augment": "hflip + copy-paste"}, "the probabilities of teachers cannot move with the pixels"),
        ({"unlabelled": "nowhere"}, "there are no unlabelled images at nowhere; give a folder or a file, or test"),
        ({"unlabelled": " , "}, "expected folders or files of unlabelled images, or test, got none"),
        ({"label_share": 1.0}, "expected label_share below 1, got 1.0"),
        ({"unlabelled_share": 0}, "expected unlabelled_share above 0, got 0"),
        ({"folds": 5}, "a student takes folds from the members of the ensemble; leave it out"),
        ({"arch": "unett"}, "unknown architecture 'unett'"),
        ({"lernrate": 3}, "unknown setting 'lernrate'"),
    ],
)
def test_mistakes_are_one_sentence_and_train_nothing(changes: dict[str, Any], text: str, in_folds: Path) -> None:
    runs = in_folds.parents[1]
    before = sorted(runs.rglob("*"))
    with pytest.raises(EnsError, match=text):
        distil(in_folds, runs=runs, **(STUDENT | changes))
    assert sorted(runs.rglob("*")) == before


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"arch": "unett"}, "unknown architecture 'unett'"),
        ({"arch": "unet(filter=2)"}, "unknown option 'filter' of architecture 'unet'"),
        ({"device": "abacus"}, "abacus"),
        ({"unlabelled": "test,nowhere"}, "there are no unlabelled images at nowhere"),
    ],
)
def test_mistakes_are_found_before_the_data_are_read(
    changes: dict[str, Any], text: str, in_folds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_again, "open_dataset", lambda *_: pytest.fail("the data were read"))
    with pytest.raises(EnsError, match=text):
        distil(in_folds, runs=in_folds.parents[1], **(STUDENT | changes))


def test_a_member_that_cannot_teach_is_found_before_the_data_are_read(
    in_folds: Path, tmp_path: Path, tiny_npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Path(shutil.copytree(in_folds.parents[1], tmp_path / "runs"))
    first = Ensemble.open(runs / "ensembles" / in_folds.name).members()[0]
    store = first.store()
    ((_, probs, _),) = store.batches()
    np.savez(tmp_path / "other.npz", probabilities=probs, ids=np.array(store.ids))
    other = import_member(tmp_path / "other.npz", name="other", data=tiny_npz, like=first.name, runs=runs).member
    whole = combine([first, other], method="average", runs=runs, folds=2).ensemble.path
    monkeypatch.setattr(plan_again, "open_dataset", lambda *_: pytest.fail("the data were read"))
    with pytest.raises(EnsError, match=f"{other.name} was imported as probabilities; train it again"):
        distil(whole, runs=runs, **STUDENT)


def test_too_few_groups_are_found_before_unlabelled_images_are_read(
    train_tiny: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(train_tiny, tmp_path / "runs")
    monkeypatch.setattr(distil_plan, "open_unlabelled", lambda *_: pytest.fail("the images were read"))
    with pytest.raises(EnsError, match="expected at least 20 groups of training images, a group for each of the inner"):
        distil(path, runs=tmp_path / "runs", unlabelled="test", inner_folds=20, **STUDENT)


def test_a_bundle_cannot_teach(in_folds: Path, tmp_path: Path) -> None:
    file = tmp_path / "street.ens"
    file.write_bytes(b"")
    with pytest.raises(EnsError, match=r"expected an ensemble that was combined here, got the file .*street\.ens"):
        distil(file, runs=in_folds.parents[1], **STUDENT)


def test_what_is_no_ensemble_cannot_teach(train_tiny: Train, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    path = make(train_tiny, runs)
    first = Ensemble.open(path).members()[0]
    with pytest.raises(EnsError, match=f"expected an ensemble to learn from, got {first.name}; combine members first"):
        distil(first.path, runs=runs, **STUDENT)
    twin = refit(path, runs=runs)
    with pytest.raises(EnsError, match=f"is a refit, which has seen all images; give its twin {path.name}"):
        distil(twin.path, runs=runs, **STUDENT)

"""Settings name an ensemble: the same ones find it again, others make another one; folds follow from the groups."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ensemble.combining.combine import combine
from ensemble.combining.ensemble_settings import find_ensemble
from ensemble.combining.pipeline import Pipeline
from ensemble.core.errors import EnsError
from ensemble.runs.member import Member

MakeMember = Callable[..., Member]


def test_other_settings_make_another_ensemble(tmp_path: Path, members: list[Member], make_member: MakeMember) -> None:
    three = [*members, make_member(tmp_path, "linknet")]
    names = {
        combine(members, method="average", runs=tmp_path).ensemble.name,
        combine(members, method="average", runs=tmp_path, folds=3).ensemble.name,
        combine(members, method="weighted(weights=[1, 2])", runs=tmp_path).ensemble.name,
        combine(members, method="weighted(weights=[2, 1])", runs=tmp_path).ensemble.name,
        combine(three, method="average", runs=tmp_path).ensemble.name,
    }
    assert len(names) == 5


def test_whole_and_decimal_weights_are_the_same_ensemble(tmp_path: Path, members: list[Member]) -> None:
    whole = combine(members, method="weighted(weights=[1, 2])", runs=tmp_path).ensemble
    decimal = combine(members, method="weighted(weights=[1.0, 2.0])", runs=tmp_path).ensemble
    assert whole.path == decimal.path


def test_few_groups_are_folds_of_their_own(
    tmp_path: Path, make_member: Callable[..., Member], make_world: Callable[..., Any]
) -> None:
    few = make_world(images=6, group_size=2)
    members = [make_member(tmp_path, name, world=few) for name in ("unet", "pspnet")]
    done = combine(members, method="average", runs=tmp_path)
    assert done.ensemble.settings.crossfit_folds == 3
    assert done.ensemble.scores["protocol"] == "cross-fitted over 3 folds"


def test_one_group_cannot_be_fitted_and_scored(
    tmp_path: Path, make_member: Callable[..., Member], make_world: Callable[..., Any]
) -> None:
    one = make_world(images=2, group_size=2)
    members = [make_member(tmp_path, name, world=one) for name in ("unet", "pspnet")]
    with pytest.raises(EnsError, match="validation images of at least 2 groups, to fit on some and score on others"):
        combine(members, method="average", runs=tmp_path)


def test_a_member_that_changed_is_combined_again(
    tmp_path: Path, members: list[Member], make_member: MakeMember
) -> None:
    pipeline = Pipeline("average")
    made = combine(members, method="average", runs=tmp_path).ensemble
    assert find_ensemble(members, pipeline, tmp_path) == made
    (_, probs, _) = next(members[0].store().batches(1000))
    shutil.rmtree(members[0].path)
    again = make_member(tmp_path, members[0].settings.architecture.name, probs=probs[:, [1, 0, 2, 3]])
    assert again.name == members[0].name
    assert find_ensemble([again, members[1]], pipeline, tmp_path) is None

"""A refit learns from all labelled images, and shows the score of its twin as that of its twin."""

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
from ensemble.export import refit as module
from ensemble.export.make_bundle import bundle
from ensemble.export.refit import refit
from ensemble.inference.evaluate import evaluate
from ensemble.inference.load import load
from ensemble.results import load as load_table
from ensemble.results import notes
from ensemble.runs.bundle import open_bundle
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.member import Member
from ensemble.runs.select import newest_members
from ensemble.runs.verify import verify
from ensemble.training.reproduce import reproduce


@pytest.fixture(scope="module")
def refitted(train_tiny: Callable[..., Member], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three members, of which an ensemble uses two, and its refit."""
    runs = tmp_path_factory.mktemp("refit") / "runs"
    members = [train_tiny(runs, folds=2), train_tiny(runs, folds=2, seed=1), train_tiny(runs, folds=2, seed=2)]
    made = combine(members, method="weighted(weights=[1, 0, 3])", decide="expected-iou", runs=runs, folds=2)
    seen: list[tuple[int, str]] = []
    found = refit(
        made.ensemble.path, runs=runs, on_plan=lambda plan, twin: seen.append((len(plan.training_rows(0)), twin.name))
    )
    assert (found.images, found.before, found.twin) == (24, 12.0, made.ensemble.name)
    assert seen == [(24, members[0].name), (24, members[2].name)]
    return runs


@pytest.fixture
def runs(refitted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(refitted, tmp_path / "runs"))


def twins(runs: Path) -> dict[str, Path]:
    """The first member and the ensemble, and their refits."""
    (ensemble,) = (path for path in (runs / "ensembles").iterdir() if not path.name.endswith("-refit"))
    used = Ensemble.open(ensemble).settings.members[0]
    names = {"ensemble": ensemble, "member": runs / "members" / used}
    return names | {f"{kind} refit": path.with_name(f"{path.name}-refit") for kind, path in names.items()}


def test_the_refit_has_one_network_per_member_and_the_pool_of_the_twin(runs: Path, tiny_arrays: dict[str, Any]) -> None:
    paths = twins(runs)
    twin, made = (Ensemble.open(paths[name]) for name in ("ensemble", "ensemble refit"))
    assert (made.pool, made.classes, made.fold_pools) == (twin.pool, twin.classes, twin.fold_pools)
    assert made.settings.model_copy(update={"members": twin.settings.members}) == twin.settings
    first, unused, last = twin.settings.members
    assert made.settings.members == (f"{first}-refit", unused, f"{last}-refit")
    member = Member.open(paths["member refit"])
    assert len(list(member.path.glob("weights-f*"))) == 1
    assert not list(member.path.glob("checkpoint*"))
    assert member.settings.epochs == Member.open(paths["member"]).settings.epochs
    images = tiny_arrays["test_set"]
    predicted = load(made.path)(images)
    parts = [load(runs / "members" / f"{name}-refit")(images) for name in (first, last)]
    np.testing.assert_allclose(predicted, 0.25 * parts[0] + 0.75 * parts[1], atol=1e-6)
    assert not np.allclose(predicted, load(twin.path)(images), atol=1e-3)


def test_the_score_is_that_of_the_twin_and_says_so_wherever_it_is_shown(runs: Path) -> None:
    paths = twins(runs)
    table = load_table(runs).set_index("name", drop=False)
    for kind in ("member", "ensemble"):
        twin, made = table.loc[paths[kind].name], table.loc[paths[f"{kind} refit"].name]
        assert (made["miou"], made["miou_low"], made["ece"]) == (twin["miou"], twin["miou_low"], twin["ece"])
        assert made["protocol"] == f"{twin['protocol']} of its twin"
    said = " ".join(notes(table.reset_index(drop=True)))
    assert "is that of the twin, which was scored on images that it was not trained on" in said
    assert said.count("-refit") == 3
    out = runs.parent / "refit.ens"
    bundle(paths["ensemble refit"], out)
    card = open_bundle(out).read("card.md").decode()
    assert "of its twin" in card
    assert "The scores are those of the twin: the same" in card


def test_nothing_is_damaged_and_every_score_follows_from_the_stored_probabilities(runs: Path) -> None:
    assert verify(runs).problems == []
    found = recompute_runs(runs)
    assert (found.runs, found.differences, found.failed) == (7, [], [])


def test_the_same_call_again_trains_nothing(runs: Path) -> None:
    path = twins(runs)["ensemble"]
    before = {file: file.read_bytes() for file in runs.rglob("weights-*")}
    refit(path, runs=runs, on_plan=lambda *_: pytest.fail("it was trained again"))
    assert {file: file.read_bytes() for file in runs.rglob("weights-*")} == before


def test_an_interrupted_refit_is_resumed_to_the_same_weights(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = twins(runs)
    whole = (paths["member refit"] / "weights-f0.safetensors").read_bytes()
    shutil.rmtree(paths["member refit"])

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "predict_test", stop)
        with pytest.raises(KeyboardInterrupt):
            refit(paths["member"], runs=runs)
    assert f"{paths['member refit'].name} (interrupted)" in verify(runs).unfinished
    refit(paths["member"], runs=runs)
    assert (paths["member refit"] / "weights-f0.safetensors").read_bytes() == whole


def test_what_needs_a_score_of_its_own_takes_the_twin(runs: Path, tiny_npz: Path) -> None:
    paths = twins(runs)
    assert not any(member.settings.refit_of for member in newest_members(runs))
    name, twin = paths["member refit"].name, paths["member"].name
    for call, text in (
        (
            lambda: combine([paths["member refit"], paths["member"]], runs=runs),
            f"{name} is a refit; combine its twin {twin}",
        ),
        (
            lambda: evaluate(paths["member refit"], tiny_npz, part="val", runs=runs),
            "was trained on every labelled image",
        ),
        (lambda: reproduce(paths["member refit"]), f"reproduce its twin {twin}"),
        (lambda: refit(paths["member refit"], runs=runs), f"is a refit already; give its twin {twin}"),
        (lambda: refit(paths["ensemble refit"], runs=runs), "is a refit already; give its twin weighted-3"),
    ):
        with pytest.raises(EnsError, match=text):
            call()


def test_a_member_that_keeps_its_best_epoch_is_refused(train_tiny: Callable[..., Member], tmp_path: Path) -> None:
    member = train_tiny(tmp_path, keep="best")
    with pytest.raises(EnsError, match="keeps its best epoch"):
        refit(member.path, runs=tmp_path)
    assert len(list((tmp_path / "members").iterdir())) == 1

"""Tuning on tiny data: members' validation images take no part, nothing is repeated, stopping loses nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ensemble.core.errors import EnsError
from ensemble.core.locks import locked
from ensemble.runs.member import Member
from ensemble.study.tuning import loop, run, search_space, train_arguments, tune
from ensemble.study.tuning.run import Tuned
from ensemble.study.tuning.trials import History, inner_split, train_trial
from ensemble.training.train import plan_training

pytest.importorskip("optuna")

FIXED: dict[str, Any] = {
    "arch": "unet-baseline(filters=2, depth=1)",
    "loss": "focal",
    "augment": "none",
    "batch_size": 4,
    "device": "cpu",
    "precision": "fp32",
}


@pytest.fixture(scope="module")
def arguments(tiny_npz: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """What is not tuned in this module."""
    return {"data": str(tiny_npz), "out": tmp_path_factory.mktemp("tuning"), **FIXED}


def again(arguments: Mapping[str, Any], **more: Any) -> Tuned:
    settings: dict[str, Any] = {"trials": 3, "epochs": 1, "trial_epochs": 2} | more
    return tune(arguments, **settings)


@pytest.fixture(scope="module")
def tuned(arguments: Mapping[str, Any]) -> Tuned:
    """Three trials and a member."""
    return again(arguments)


# ---------------------------------------------------------------- honest


def test_trials_see_no_image_that_judges_a_member(arguments: Mapping[str, Any]) -> None:
    plan = plan_training(arguments)
    learned, held = inner_split(plan)
    outer = plan.split.validation[0]
    assert not set(outer.tolist()) & {*learned.tolist(), *held.tolist()}
    assert sorted([*learned, *held]) == plan.training_rows(0).tolist()
    assert not {plan.groups[row] for row in learned} & {plan.groups[row] for row in held}
    assert len(held) == pytest.approx(0.2 * len(plan.training_rows(0)), abs=2)


def test_a_trial_is_the_same_whatever_the_members_validation_images_show(
    arguments: Mapping[str, Any], tiny_arrays: Mapping[str, Any], tmp_path: Path
) -> None:
    plan = plan_training(arguments)
    other = tiny_arrays["training_set"].copy()
    other[plan.split.validation[0], 0] = 255 - other[plan.split.validation[0], 0]
    np.savez(tmp_path / "other.npz", **{**tiny_arrays, "training_set": other})
    scores: list[list[float]] = []
    for one in (plan, plan_training({**arguments, "data": str(tmp_path / "other.npz")})):
        history = History()
        train_trial(one, 2, tmp_path / one.facts.data_hash, lambda rows, kept=history: kept.extend(rows[-1:]), _silent)
        scores.append([row["val_miou"] for row in history])
    assert scores[0] == scores[1]
    assert len(scores[0]) == 2


def _silent(*_: Any) -> None: ...


def test_members_are_trained_in_full_and_not_selected(tuned: Tuned, arguments: Mapping[str, Any]) -> None:
    member = tuned.members[tuned.best[0]]
    assert len(tuned.members) == 1
    assert isinstance(member, Member)
    assert member.scores["selected"] is False
    assert member.settings.epochs == 1
    best: Any = tuned.trials.set_index("trial").loc[tuned.best[0]]
    assert best["miou"] == tuned.trials["miou"].max()
    assert member.settings.optimiser.lr == best["lr"]
    assert member.settings.loss.options["gamma"] == best["loss.gamma"]
    assert member.facts.split_hash == plan_training(arguments).facts.split_hash  # it can be combined with all others


# ---------------------------------------------------------------- tables and pictures


def test_the_first_trial_has_the_defaults(tuned: Tuned) -> None:
    first: Any = tuned.trials.iloc[0]
    assert (first["trial"], first["lr"], first["loss.gamma"], first["loss.scheme"]) == (0, 0.002, 2.0, "none")
    assert tuned.trials["state"].tolist() == ["complete"] * 3
    assert tuned.trials["epoch"].tolist() == [2] * 3
    assert min(tuned.trials["seconds"]) > 0


def test_everything_is_written(tuned: Tuned) -> None:
    read = pd.read_csv(tuned.folder / "trials.csv")
    assert read["miou"].tolist() == pytest.approx(tuned.trials["miou"].tolist())
    assert [picture.name for picture in tuned.pictures] == ["history.png"]  # three trials say nothing of importance
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in tuned.pictures)
    assert not list((tuned.folder / "trials").glob("*"))  # no checkpoint is left


# ---------------------------------------------------------------- again and further


def test_the_same_call_repeats_nothing_and_more_trials_go_on(tuned: Tuned, arguments: Mapping[str, Any]) -> None:
    same = again(arguments)
    pd.testing.assert_frame_equal(same.trials, tuned.trials)
    assert {trial: member.name for trial, member in same.members.items()} == {
        trial: member.name for trial, member in tuned.members.items()
    }
    more = again(arguments, trials=4, best=0)
    pd.testing.assert_frame_equal(more.trials.head(3), tuned.trials)
    assert len(more.trials) == 4
    assert more.folder == tuned.folder
    assert more.members == {}


def test_a_stopped_trial_goes_on_and_ends_as_if_it_had_not_been(
    arguments: Mapping[str, Any], tuned: Tuned, tmp_path: Path
) -> None:
    def stop(task: str, done: int, total: int, note: str = "", /) -> None:
        if "epoch 2" in note:
            raise KeyboardInterrupt

    elsewhere = {**arguments, "out": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        again(elsewhere, trials=1, progress=stop)
    (checkpoint,) = tmp_path.glob("studies/*/trials/0/checkpoint.pt")
    assert checkpoint.is_file()
    notes: list[str] = []
    done = again(elsewhere, trials=1, best=0, progress=lambda *told: notes.append(str(told[-1])))
    assert not any("epoch 1/2" in note for note in notes)  # the epoch that was whole is not repeated
    assert done.trials["miou"].tolist() == [tuned.trials["miou"].iloc[0]]
    assert done.folder.name == tuned.folder.name


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["SIGKILL", "SIGINT"])
def test_a_killed_process_loses_no_trial(arguments: Mapping[str, Any], tmp_path: Path, kind: str) -> None:
    settings = {**arguments, "out": str(tmp_path / "killed")}
    # A process started in the background of a shell ignores SIGINT, and so would its children.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += f"from ensemble.study.tuning import tune; tune({settings!r}, trials=1, best=0, trial_epochs=150)"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while not list(tmp_path.glob("killed/studies/*/trials/0/checkpoint.pt")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(getattr(signal, kind))
    process.communicate(timeout=60)
    assert process.returncode != 0
    notes: list[str] = []
    done = tune(settings, trials=1, best=0, trial_epochs=150, progress=lambda *told: notes.append(str(told[-1])))
    straight = tune({**settings, "out": tmp_path / "straight"}, trials=1, best=0, trial_epochs=150)
    assert not any("epoch 1/150" in note for note in notes)
    assert done.trials["miou"].tolist() == straight.trials["miou"].tolist()
    assert done.trials["epoch"].tolist() == [150]


def test_members_wait_for_trials_of_other_processes(
    arguments: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(opened: run.Opened) -> None:
        import optuna

        made = run.Journal(opened.folder, both=False, prune_after=0, seed=0, defaults={})
        assert held.enter_context(made.running_trial()).number == 0
        assert isinstance(made.study, optuna.study.Study)

    monkeypatch.setattr(loop, "train_trial", _instant)
    with ExitStack() as held:
        done = tune({**arguments, "out": tmp_path}, trials=2, trial_epochs=2, epochs=1, on_open=told)
    assert done.members == {}
    assert done.elsewhere == "trial 0 is still running in another process, which trains the members at the end"
    assert done.trials["state"].tolist() == ["running", "complete"]


def _instant(_: Any, epochs: int, __: Path, on_epoch: Any, ___: Any) -> None:
    on_epoch([{"epoch": epoch + 1, "val_miou": 0.5, "seconds": 1.0} for epoch in range(epochs)])


def test_trials_that_fail_are_rows_and_the_others_go_on(
    arguments: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def second_fails(plan: Any, epochs: int, checkpoint: Path, on_epoch: Any, progress: Any) -> None:
        if checkpoint.parent.name == "1":
            raise EnsError("the loss is no longer finite in epoch 1")
        _instant(plan, epochs, checkpoint, on_epoch, progress)

    monkeypatch.setattr(loop, "train_trial", second_fails)
    done = again({**arguments, "out": tmp_path}, best=0)
    assert done.trials["state"].tolist() == ["complete", "failed", "complete"]
    assert done.trials["error"].tolist() == ["", "the loss is no longer finite in epoch 1", ""]
    assert list(done.trials["miou"].isna()) == [False, True, False]


def test_where_the_first_trial_fails_nothing_goes_on(
    arguments: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("not enough memory: you tried to allocate 9 GB")

    monkeypatch.setattr(loop, "train_trial", fails)
    with pytest.raises(EnsError, match="the first trial failed: not enough memory"):
        again({**arguments, "out": tmp_path})
    monkeypatch.setattr(loop, "train_trial", _instant)
    done = again({**arguments, "out": tmp_path}, trials=1, best=0)
    assert list(done.trials["lr"]) == [0.002]  # the defaults again


def test_a_budget_begins_only_what_should_fit(
    arguments: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "train_trial", _instant)
    done = tune({**arguments, "out": tmp_path}, budget=0.01, best=0, trial_epochs=2)
    assert len(done.trials) == 1
    monkeypatch.setattr(loop.statistics, "median", lambda _: 100.0)
    assert len(tune({**arguments, "out": tmp_path}, budget="90s", best=0, trial_epochs=2).trials) == 1
    assert len(tune({**arguments, "out": tmp_path}, budget="110s", trials=2, best=0, trial_epochs=2).trials) == 2


def test_a_trial_that_outlasts_the_budget_waits_for_the_next_call(
    arguments: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(plan: Any, epochs: int, checkpoint: Path, on_epoch: Any, progress: Any) -> None:
        while checkpoint.parent.name != "0":
            progress("training", 1, 2)
        _instant(plan, epochs, checkpoint, on_epoch, progress)

    monkeypatch.setattr(loop, "train_trial", slow)
    done = tune({**arguments, "out": tmp_path}, budget=1.0, best=0, trial_epochs=2)
    assert done.trials["state"].tolist() == ["complete"]
    monkeypatch.setattr(loop, "train_trial", _instant)
    more = tune({**arguments, "out": tmp_path}, trials=2, best=0, trial_epochs=2)
    assert more.trials["trial"].tolist() == [0, 1]


def test_two_objectives_do_not_share_trials_with_one(
    tuned: Tuned, arguments: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "train_trial", _instant)
    done = again(arguments, multi_objective=True, best=0)
    assert done.folder != tuned.folder
    assert [picture.name for picture in done.pictures] == ["history.png", "price.png"]


def test_a_member_that_another_process_trains_is_left_to_it(tuned: Tuned, arguments: Mapping[str, Any]) -> None:
    best: Any = tuned.trials.set_index("trial").loc[tuned.best[0]]
    values = {name: best[name] for name in search_space(arguments, 0.002)}
    planned = plan_training({**train_arguments(arguments, values), "epochs": 3})
    with locked(planned.path):
        done = again(arguments, epochs=3)
    assert done.members == {}
    assert "has worked on" in done.elsewhere


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("change", "more", "text"),
    [
        ({"folds": 5}, {}, "a tuned member takes no folds, got 5; with folds every image"),
        ({"epochs": 5}, {}, "takes no epochs.*give `epochs` for the members"),
        ({}, {"trials": 0}, "expected 1 trial and epoch or more, got trials=0"),
        ({}, {"budget": "soon"}, "expected a duration such as 90s, 5m or 1.5h, got 'soon'"),
        ({"arch": "unte"}, {}, "unknown architecture 'unte'; did you mean 'unet'"),
        ({"data": "nowhere.npz"}, {}, "there is no file or folder nowhere.npz"),
        ({"val_fraction": 0.9}, {}, "training images cannot be split again for trials: all 2 images are in one group"),
        ({"loss": "focal(gama=1)"}, {}, "unknown option 'gama' of loss 'focal'; did you mean 'gamma'"),
    ],
)
def test_mistakes_are_found_before_anything_is_written(
    arguments: Mapping[str, Any], tmp_path: Path, change: Mapping[str, Any], more: Mapping[str, Any], text: str
) -> None:
    runs = tmp_path / "runs"
    with pytest.raises(EnsError, match=text):
        tune({**arguments, "out": runs, **change}, **more)
    assert not runs.exists()


def test_a_search_is_not_started_several_times_over(
    arguments: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(EnsError, match=r"ens tune starts processes itself, but a launcher started it 2 times"):
        tune(arguments)

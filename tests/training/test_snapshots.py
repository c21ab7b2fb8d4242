"""A training of several cycles makes a member of each; each equals one that is trained until there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from ensemble.combining.combine import combine
from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress
from ensemble.export.refit import refit
from ensemble.results import load as load_table
from ensemble.runs.layout import members_folder
from ensemble.runs.member import Member
from ensemble.runs.verify import verify
from ensemble.training import loop, trainer
from ensemble.training.reproduce import reproduce
from ensemble.training.train import plan_training

Train = Callable[..., Member]
Content = Callable[[Path], dict[str, object]]
WISH: dict[str, Any] = {"epochs": 5, "cycles": 3}  # cycles of 1, 2 and 2 epochs of 4 steps


@pytest.fixture(scope="module")
def whole(train_tiny: Train, tmp_path_factory: pytest.TempPathFactory) -> Member:
    """The member of the last of three cycles, with those of the earlier ones in the same folder."""
    return train_tiny(tmp_path_factory.mktemp("cycles") / "runs", **WISH)


def snapshots(runs: Path) -> list[Member]:
    """The members of a folder by the cycle that they are taken from."""
    return sorted(map(Member.open, members_folder(runs).iterdir()), key=lambda member: member.settings.last_cycle)


def weights(member: Member, name: str = "weights-f0.safetensors") -> dict[str, Any]:
    return load_file(member.path / name)


def log_of(member: Member) -> list[str]:
    return [line.partition(" ")[2] for line in (member.path / "log.txt").read_text().splitlines()]


def test_each_cycle_makes_a_member_with_the_weights_that_it_ended_with(whole: Member) -> None:
    members = snapshots(whole.path.parents[1])
    assert [member.settings.snapshot for member in members] == [1, 2, None]
    assert members[-1].path == whole.path
    assert {member.name.rpartition("-")[0] for member in members} == {"unet-baseline-ce-s0"}
    for cycle, member in enumerate(members[:-1], 1):
        kept = f"weights-f0-c{cycle}.safetensors"
        assert (member.path / "weights-f0.safetensors").read_bytes() == (whole.path / kept).read_bytes()
        assert f"fold 1: weights of {whole.name}" in log_of(member)
    histories = [pd.read_csv(member.path / "history.csv") for member in members]
    assert [len(history) for history in histories] == [1, 3, 5]
    assert all(history.equals(histories[-1].head(len(history))) for history in histories)
    assert len({member.fingerprint for member in members}) == 3
    assert not verify(whole.path.parents[1]).problems


def test_learning_rate_and_average_begin_again_with_each_cycle(
    whole: Member, train_tiny: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = list[tuple[int, int]]()
    decay = trainer.ema_decay
    monkeypatch.setattr(trainer, "ema_decay", lambda *place: places.append(place[:2]) or decay(*place))
    train_tiny(tmp_path / "runs", **WISH, snapshot=3)
    assert places == [(step, of) for of in (4, 8, 8) for step in range(of)]
    half = 0.5 * (1 + np.cos(np.pi * 3 / 7))  # after the fourth of eight steps, the first of which warms up
    rates = pd.read_csv(whole.path / "history.csv")["lr"]
    np.testing.assert_allclose(rates, 2e-2 * np.array([1, 1, half, 1, half]), rtol=1e-12)


@pytest.mark.parametrize("more", [{}, {"folds": 2, "tta": "hflip"}], ids=["hold-out", "folds and tta"])
def test_a_snapshot_is_the_member_that_is_trained_until_there(
    train_tiny: Train, content_of: Content, tmp_path: Path, more: dict[str, Any]
) -> None:
    train_tiny(tmp_path / "together", **WISH, **more)
    for made in snapshots(tmp_path / "together")[:-1]:
        alone = train_tiny(tmp_path / "alone", **WISH, **more, snapshot=made.settings.snapshot)
        assert alone.name == made.name
        if made.settings.snapshot == 1:
            assert log_of(alone)[1].startswith("fold 1 trained, loss ")
        expected, found = content_of(alone.path), content_of(made.path)
        assert {name: expected[name] for name in found} == found
        assert all(name.endswith("-c1.safetensors") for name in expected if name not in found)  # kept for the first


def test_one_cycle_is_what_training_was(train_tiny: Train, content_of: Content, tmp_path: Path) -> None:
    plain, one = train_tiny(tmp_path / "a"), train_tiny(tmp_path / "b", cycles=1, snapshot=1)
    assert (plain.name, content_of(plain.path)) == (one.name, content_of(one.path))


def test_other_views_take_the_weights_of_the_same_snapshot(whole: Member, train_tiny: Train, tmp_path: Path) -> None:
    runs = Path(shutil.copytree(whole.path.parents[1], tmp_path / "runs"))
    tasks = set[str]()
    views = train_tiny(runs, **WISH, tta="hflip", progress=lambda task, *_: tasks.add(task))
    assert tasks == {"predicting validation images", "predicting test images"}
    for member in snapshots(runs):
        if member.settings.tta == "hflip":
            (plain,) = (
                other
                for other in snapshots(runs)
                if other.settings == member.settings.model_copy(update={"tta": "none"})
            )
            same = {(one.path / "weights-f0.safetensors").read_bytes() for one in (member, plain)}
            assert len(same) == 1
    assert views.settings.snapshot is None


# ---------------------------------------------------------------- interrupted


def interrupt(task: str, done: int, member: int) -> Progress:
    """Press Ctrl-C when a task reports ``done`` for the ``member``-th time."""
    left = [member]

    def progress(name: str, now: int, total: int, note: str = "", /) -> None:
        if name == task and now == done:
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize(
    ("task", "done", "member"),
    [
        pytest.param("training", 3, 1, id="the first cycle"),
        pytest.param("training", 10, 1, id="the second cycle"),
        pytest.param("training", 14, 1, id="the last cycle"),
        pytest.param("predicting validation images", 6, 1, id="predictions of the last snapshot"),
        pytest.param("predicting test images", 5, 2, id="predictions of the first snapshot"),
        pytest.param("predicting validation images", 6, 3, id="predictions of the second snapshot"),
    ],
)
def test_the_same_command_ends_with_the_same_bits(
    whole: Member, train_tiny: Train, content_of: Content, tmp_path: Path, task: str, done: int, member: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path / "runs", **WISH, progress=interrupt(task, done, member))
    train_tiny(tmp_path / "runs", **WISH)
    expected, found = snapshots(whole.path.parents[1]), snapshots(tmp_path / "runs")
    assert [one.name for one in found] == [one.name for one in expected]
    assert [content_of(one.path) for one in found] == [content_of(one.path) for one in expected]


def test_a_kill_between_the_kept_weights_and_the_checkpoint_changes_nothing(
    whole: Member, train_tiny: Train, content_of: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = loop.save_fold_state

    def killed(state: Any, fold_state: Any) -> None:
        if fold_state.epoch == 3:
            raise KeyboardInterrupt
        save(state, fold_state)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_fold_state", killed)
        with pytest.raises(KeyboardInterrupt):
            train_tiny(tmp_path / "runs", **WISH)
    (path,) = members_folder(tmp_path / "runs").iterdir()
    assert (path / "weights-f0-c2.safetensors").is_file()
    assert content_of(train_tiny(tmp_path / "runs", **WISH).path) == content_of(whole.path)


def test_a_removed_snapshot_is_made_again_from_the_last_or_trained_if_that_is_damaged(
    whole: Member, train_tiny: Train, tmp_path: Path
) -> None:
    runs = Path(shutil.copytree(whole.path.parents[1], tmp_path / "runs"))
    first, _, last = snapshots(runs)
    before = weights(first)
    shutil.rmtree(first.path)
    tasks = set[str]()
    train_tiny(runs, **WISH, progress=lambda task, *_: tasks.add(task))
    assert "training" not in tasks
    kept = last.path / "weights-f0-c1.safetensors"
    kept.write_bytes(kept.read_bytes()[:-1] + b"?")
    shutil.rmtree(first.path)
    train_tiny(runs, **WISH, progress=lambda task, *_: tasks.add(task))
    assert "training" in tasks
    after = weights(snapshots(runs)[0])
    assert all(np.array_equal(before[name], after[name]) for name in before)
    (problem,) = verify(runs).problems
    assert f"{kept.name} differs from what was written" in problem


# ---------------------------------------------------------------- members like any other


def test_snapshots_are_combined_and_their_training_counts_once(whole: Member, tmp_path: Path) -> None:
    runs = Path(shutil.copytree(whole.path.parents[1], tmp_path / "runs"))
    members = snapshots(runs)
    made = combine(members, method="average", runs=runs, folds=2).ensemble
    stores = [np.concatenate([probs for _, probs, _ in member.store().batches()]) for member in members]
    labels = np.concatenate([labels for _, _, labels in members[0].store().batches() if labels is not None])
    mean, known = np.mean(stores, axis=0), labels != 255
    accuracy = (mean.argmax(1) == labels)[known].mean()
    assert made.scores["pixel_accuracy"] == pytest.approx(accuracy)
    table = load_table(runs).set_index("name")
    shown = [table.loc[member.name, "snapshot"] for member in members]
    assert shown == ["1 of 3", "2 of 3", "3 of 3"]
    assert bool(pd.isna(table.loc[made.name, "snapshot"]))
    seconds = [float(member.status["training_seconds"]) for member in members]
    assert seconds == sorted(seconds)
    assert table.loc[made.name, "seconds"] == pytest.approx(seconds[-1])


def test_a_snapshot_is_reproduced_and_refitted_by_training_until_there(whole: Member, tmp_path: Path) -> None:
    runs = Path(shutil.copytree(whole.path.parents[1], tmp_path / "runs"))
    first = snapshots(runs)[0]
    assert reproduce(first.path, out=tmp_path / "again").exact
    (again,) = snapshots(tmp_path / "again")
    assert len(pd.read_csv(again.path / "history.csv")) == 1
    made = refit(first.path, runs=runs)
    assert len(pd.read_csv(made.path / "history.csv")) == 1


def test_every_cycle_has_an_epoch_however_short_the_budget(train_tiny: Train, tmp_path: Path) -> None:
    member = train_tiny(tmp_path / "runs", epochs=None, budget=1e-9, cycles=3)
    assert [one.settings.epochs for one in snapshots(tmp_path / "runs")] == [3, 3, 3]
    assert member.settings.snapshot is None


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("wish", "text"),
    [
        ({"cycles": 2, "keep": "best"}, "expected keep last with 2 cycles, got best"),
        ({"cycles": 2, "snapshot": 3}, r"expected a snapshot from 1 to 2 \(cycles\), got 3"),
        ({"snapshot": 2}, r"expected a snapshot from 1 to 1 \(cycles\), got 2; give cycles"),
        ({"cycles": 3, "epochs": 2}, "expected an epoch or more for each of 3 cycles, got 2 epochs; give more epochs"),
    ],
)
def test_what_cannot_be_is_refused_before_a_file_is_written(
    tiny_npz: Path, tmp_path: Path, wish: dict[str, Any], text: str
) -> None:
    with pytest.raises(EnsError, match=text):
        plan_training({"data": tiny_npz, "out": tmp_path / "runs", "arch": "unet-baseline(filters=2, depth=1)", **wish})
    assert not (tmp_path / "runs").exists()


def test_a_named_last_snapshot_is_the_member_without_the_earlier_ones(tiny_npz: Path, tmp_path: Path) -> None:
    asked = {"data": tiny_npz, "out": tmp_path / "runs", "arch": "unet-baseline(filters=2, depth=1)", "cycles": 3}
    every, last = plan_training(asked), plan_training({**asked, "snapshot": 3})
    assert (every.path, every.settings) == (last.path, last.settings)
    assert [plan.settings.snapshot for plan in every.all_snapshots] == [None, 1, 2]
    assert last.all_snapshots == (last,)
    assert every.disk_bytes > last.disk_bytes

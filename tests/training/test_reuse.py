"""A member that differs only in test-time augmentation copies the weights and equals one trained separately."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from ensemble import load
from ensemble.core.files import file_digest, read_json, sealed, write_json
from ensemble.core.progress import Progress
from ensemble.inference import pooled_networks
from ensemble.inference.network import Network
from ensemble.runs.member import Member
from ensemble.runs.store import decode, encode
from ensemble.runs.verify import verify
from ensemble.training import member_writer, reuse
from ensemble.training.length import Length
from ensemble.training.reproduce import reproduce

Train = Callable[..., Member]
Content = Callable[[Path], dict[str, object]]
Interrupt = Callable[[str, int], Progress]
WISH: dict[str, Any] = {"folds": 2, "keep": "best", "deterministic": True}  # an epoch is chosen by predictions
WEIGHTS = ("weights-f0.safetensors", "weights-f1.safetensors")


@pytest.fixture(scope="module")
def both(train_tiny: Train, tmp_path_factory: pytest.TempPathFactory) -> tuple[Member, Member, list[str]]:
    """A member, one with the same weights and eight views, and the progress tasks reported for the second."""
    runs, tasks = tmp_path_factory.mktemp("both") / "runs", list[str]()
    plain = train_tiny(runs, **WISH)
    environment = read_json(plain.path / "environment.json")
    write_json(plain.path / "environment.json", environment | {"revision": "an older one"})
    status = read_json(plain.path / "status.json")
    files = status["files"] | {"environment.json": file_digest(plain.path / "environment.json")}
    write_json(plain.path / "status.json", sealed(status | {"files": files}))
    return (
        Member.open(plain.path),
        train_tiny(runs, **WISH, tta="d4", progress=lambda task, *_: tasks.append(task)),
        tasks,
    )


@pytest.fixture
def runs(both: tuple[Member, Member, list[str]], tmp_path: Path) -> Path:
    """A folder with a copy of the member without test-time augmentation."""
    plain = both[0]
    return Path(shutil.copytree(plain.path, tmp_path / "runs" / "members" / plain.name)).parents[1]


def log_of(member: Member) -> list[str]:
    return [line.partition(" ")[2] for line in (member.path / "log.txt").read_text().splitlines()]


def probabilities(member: Member, split: str) -> Any:
    return np.concatenate([probs for _, probs, _ in member.store(split).batches()])


def test_only_predictions_are_made_again(both: tuple[Member, Member, list[str]]) -> None:
    plain, views, tasks = both
    assert set(tasks) == {"predicting validation images", "predicting test images"}
    for name in (*WEIGHTS, "history.csv", "environment.json"):  # the environment is that of the training
        assert (views.path / name).read_bytes() == (plain.path / name).read_bytes()
    assert views.name.rpartition("-")[0] == plain.name.rpartition("-")[0]
    assert (views.name != plain.name, views.settings.tta, plain.settings.tta) == (True, "d4", "none")
    started, warned, *taken = log_of(views)[:4]
    assert (started, taken) == ("started, 2 epochs", [f"fold {n}: weights of {plain.name}" for n in (1, 2)])
    assert warned.startswith("the environment changed since the start, so bits may differ: revision an older one -> ")
    assert views.status["training_seconds"] == pytest.approx(plain.status["training_seconds"])
    assert not np.array_equal(views.confusions(), plain.confusions())
    assert views.scores["selected"] is True
    assert not verify(plain.path.parents[1]).problems


def test_its_store_holds_what_predict_gives_with_tta(
    both: tuple[Member, Member, list[str]], tiny_arrays: dict[str, Any]
) -> None:
    plain, views, _ = both
    images = tiny_arrays["test_set"]
    for model, tta, stored in ((plain, "d4", views), (views, None, views), (views, "none", plain)):
        found = load(model.path, tta=tta)(images)
        np.testing.assert_array_equal(decode(encode(found)), probabilities(stored, "test"))
    assert np.abs(probabilities(views, "validation") - probabilities(plain, "validation")).max() > 0.01


def test_what_a_prediction_costs_counts_every_view(
    both: tuple[Member, Member, list[str]], train_tiny: Train, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, views, _ = both
    assert views.status["gflops"] == pytest.approx(8 * plain.status["gflops"])
    passes, forward = list[int](), Network.forward

    def counted(self: Network, images_nchw: Tensor) -> Tensor:
        passes.append(len(images_nchw))
        return forward(self, images_nchw)

    monkeypatch.setattr(Network, "forward", counted)
    monkeypatch.setattr(pooled_networks, "time", SimpleNamespace(perf_counter=lambda: float(len(passes))))
    flips = train_tiny(runs, **WISH, tta="flips")
    assert flips.status["latency_ms"] == 1000 * 4 / 12  # 12 images of a fold in four passes of a second each


def test_it_is_the_member_that_is_trained_separately(
    both: tuple[Member, Member, list[str]], train_tiny: Train, content_of: Content, tmp_path: Path
) -> None:
    views = both[1]
    alone = train_tiny(tmp_path / "alone", **WISH, tta="d4")
    assert log_of(alone)[1].startswith("fold 1 trained, loss ")
    assert content_of(alone.path) == content_of(views.path)
    assert reproduce(views.path, out=tmp_path / "alone").exact
    before = train_tiny(tmp_path / "alone", **WISH)  # the other way round
    assert f"fold 1: weights of {alone.name}" in log_of(before)
    assert content_of(before.path) == content_of(both[0].path)


@pytest.mark.parametrize("moment", ["copying the weights", "predicting validation images", "predicting test images"])
@pytest.mark.parametrize("stays", [True, False], ids=["original stays", "original goes"])
def test_whatever_ends_it_the_same_command_resumes_to_the_same_bits(
    both: tuple[Member, Member, list[str]],
    train_tiny: Train,
    content_of: Content,
    interrupt: Interrupt,
    runs: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    stays: bool,
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    progress = interrupt(moment, 5 if "test" in moment else 12)
    with monkeypatch.context() as patch:
        if moment == "copying the weights":
            patch.setattr(reuse.shutil, "copyfileobj", killed)
        with pytest.raises(KeyboardInterrupt):
            train_tiny(runs, **WISH, tta="d4", progress=progress)
    if not stays:
        shutil.rmtree(runs / "members" / both[0].name)
    assert content_of(train_tiny(runs, **WISH, tta="d4").path) == content_of(both[1].path)


def test_damaged_weights_are_not_taken_over(
    both: tuple[Member, Member, list[str]], train_tiny: Train, content_of: Content, runs: Path
) -> None:
    file = runs / "members" / both[0].name / WEIGHTS[1]
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    views = train_tiny(runs, **WISH, tta="d4")
    assert not [line for line in log_of(views) if "weights of" in line]
    assert content_of(views.path) == content_of(both[1].path)


def test_a_member_with_other_epochs_copies_nothing(train_tiny: Train, runs: Path) -> None:
    changed = train_tiny(runs, **WISH | {"epochs": 1}, tta="d4")
    assert not [line for line in log_of(changed) if "weights of" in line]


def test_epochs_of_a_budget_come_with_the_weights(
    train_tiny: Train, interrupt: Interrupt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish: dict[str, Any] = {"epochs": None, "budget": 60.0, "out": tmp_path / "runs"}
    measured = iter((3, 2))
    monkeypatch.setattr(member_writer, "length_for_budget", lambda *_: Length(next(measured)))
    with pytest.raises(KeyboardInterrupt):
        train_tiny(**wish, tta="flips", progress=interrupt("training", 1))
    plain = train_tiny(**wish)
    resumed, other = train_tiny(**wish, tta="flips"), train_tiny(**wish, tta="d4")
    assert [one.settings.epochs for one in (plain, resumed)] == [2, 3]  # what was begun is not what another learnt
    assert not [line for line in log_of(resumed) if "weights of" in line]
    assert other.settings.epochs in (2, 3)
    assert [line for line in log_of(other) if "weights of" in line]

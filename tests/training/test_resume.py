"""A run that was interrupted and resumed is the uninterrupted run, bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ensemble.errors import EnsError
from ensemble.files import read_json, write_json
from ensemble.members import Member
from ensemble.progress import Tick

Content = Callable[[Path], dict[str, object]]
Train = Callable[..., Member]
Interrupt = Callable[[str, int], Tick]

HOLD_OUT: dict[str, Any] = {"epochs": 3, "augment": "full"}
MIXED: dict[str, Any] = {
    "augment": "geometric + copy-paste(count=2) + cutmix",
    "sampler": "rare(per_batch=2)",
    "arch_options": {"filters": 2, "depth": 2, "deep_supervision": True},
}
FOLDS: dict[str, Any] = {"epochs": 2, "folds": 3, "augment": "none"}


@pytest.fixture(scope="module")
def whole(train_tiny: Train, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The member that was never interrupted, trained once per settings."""
    done: dict[str, Path] = {}

    def of(**settings: Any) -> Path:
        key = str(sorted(settings.items()))
        if key not in done:
            done[key] = train_tiny(tmp_path_factory.mktemp("whole") / "runs", **settings).path
        return done[key]

    return of


@pytest.mark.parametrize(
    ("settings", "task", "done"),
    [
        pytest.param(HOLD_OUT, "training", 2, id="first epoch, before any checkpoint"),
        pytest.param(HOLD_OUT, "training", 7, id="a later epoch"),
        pytest.param(HOLD_OUT | {"precision": "bf16"}, "training", 7, id="a later epoch in bf16"),
        pytest.param(HOLD_OUT | MIXED, "training", 7, id="copy-paste, cutmix and rare batches"),
        pytest.param(HOLD_OUT | {"keep": "best"}, "training", 10, id="the last epoch of keep best"),
        pytest.param(HOLD_OUT, "predicting validation images", 6, id="prediction of validation images"),
        pytest.param(HOLD_OUT, "predicting test images", 5, id="prediction of test images"),
        pytest.param(FOLDS, "training fold 1", 6, id="the first of three folds"),
        pytest.param(FOLDS, "training fold 2", 1, id="between folds"),
        pytest.param(FOLDS | {"precision": "bf16"}, "training fold 3", 6, id="the last fold in bf16"),
        pytest.param(FOLDS, "predicting validation images", 16, id="out-of-fold prediction"),
    ],
)
def test_a_resumed_run_repeats_the_uninterrupted_one(
    train_tiny: Train,
    whole: Callable[..., Path],
    interrupt: Interrupt,
    content_of: Content,
    tmp_path: Path,
    settings: dict[str, Any],
    task: str,
    done: int,
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path / "runs", tick=interrupt(task, done), **settings)
    (path,) = (tmp_path / "runs" / "members").iterdir()
    assert read_json(path / "status.json")["state"] == "interrupted"
    with pytest.raises(EnsError, match=r"is not finished \(state 'interrupted'\); repeat its train command to resume"):
        Member.open(path)
    member = train_tiny(tmp_path / "runs", **settings)
    assert member.path == path
    log = [line.partition(" ")[2] for line in (path / "log.txt").read_text().splitlines()]
    assert log[0] == f"started, {settings['epochs']} epochs"
    assert "interrupted; the same command resumes" in log
    assert log.count("resumed") == 1
    uninterrupted = whole(**settings)
    assert path.name == uninterrupted.name
    expected, found = content_of(uninterrupted), content_of(path)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


def test_a_resumed_run_trains_only_what_is_left(train_tiny: Train, interrupt: Interrupt, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path / "runs", tick=interrupt("training fold 2", 6), **FOLDS)
    steps: dict[str, list[int]] = {}
    train_tiny(tmp_path / "runs", tick=lambda task, done, *_: steps.setdefault(task, []).append(done), **FOLDS)
    assert "training fold 1" not in steps
    assert steps["training fold 2"] == [5, 6, 7, 8]  # the second epoch again, the first from the checkpoint
    assert steps["training fold 3"] == list(range(1, 9))


def test_seconds_add_up_over_interruptions(train_tiny: Train, interrupt: Interrupt, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path / "runs", tick=interrupt("training", 7), **HOLD_OUT)
    (status,) = (tmp_path / "runs" / "members").glob("*/status.json")
    first = read_json(status)["seconds"]
    member = train_tiny(tmp_path / "runs", **HOLD_OUT)
    assert member.status["seconds"] > first > 0


def test_what_a_kill_left_does_not_stay(train_tiny: Train, interrupt: Interrupt, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path / "runs", tick=interrupt("training fold 2", 1), **FOLDS)
    (path,) = (tmp_path / "runs" / "members").iterdir()
    (path / "checkpoint-f0.pt").write_bytes(b"killed after the weights were written, before this was removed")
    (path / ".scores.json.abc.tmp").write_bytes(b"killed while this was written")
    member = train_tiny(tmp_path / "runs", **FOLDS)
    assert [file.name for file in member.path.iterdir() if file.suffix in (".pt", ".tmp")] == []


def test_a_damaged_checkpoint_is_named(train_tiny: Train, interrupt: Interrupt, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path / "runs", tick=interrupt("training", 7), **HOLD_OUT)
    (checkpoint,) = (tmp_path / "runs" / "members").glob("*/checkpoint-f0.pt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-500])
    with pytest.raises(EnsError, match=r"checkpoint-f0\.pt is damaged \(.*\); delete it and repeat the command"):
        train_tiny(tmp_path / "runs", **HOLD_OUT)
    checkpoint.unlink()
    assert train_tiny(tmp_path / "runs", **HOLD_OUT).status["state"] == "complete"


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"settings": {"epochs": null}}'])
def test_a_damaged_configuration_is_named_when_resuming(
    train_tiny: Train, interrupt: Interrupt, tmp_path: Path, content: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path / "runs", tick=interrupt("training", 2), **HOLD_OUT)
    (config,) = (tmp_path / "runs" / "members").glob("*/config.json")
    config.write_text(content)
    with pytest.raises(EnsError, match=r"config\.json"):
        train_tiny(tmp_path / "runs", **HOLD_OUT)


def test_a_configuration_without_epochs_is_damaged(train_tiny: Train, interrupt: Interrupt, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path / "runs", tick=interrupt("training", 2), **HOLD_OUT)
    (config,) = (tmp_path / "runs" / "members").glob("*/config.json")
    content = read_json(config)
    content["settings"]["epochs"] = None
    write_json(config, content)
    with pytest.raises(EnsError, match=r"config\.json is damaged \(no number of epochs\); delete the directory"):
        train_tiny(tmp_path / "runs", **HOLD_OUT)

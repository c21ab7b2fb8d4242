"""Interrupting a training run as Ctrl-C does; a trained member, and files of it that are rewritten."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ensemble.config import TrainSettings
from ensemble.core.files import file_digest, read_json, sealed, write_bytes, write_json
from ensemble.core.progress import Progress
from ensemble.runs.member import Member
from ensemble.training.plan import Plan, plan_member


@pytest.fixture
def interrupt() -> Callable[[str, int], Progress]:
    """``interrupt("training", 7)`` is a progress that presses Ctrl-C when that task reports 7 done."""

    def at(task: str, done: int) -> Progress:
        def progress(name: str, now: int, total: int, note: str = "", /) -> None:
            if name == task and now == done:
                raise KeyboardInterrupt

        return progress

    return at


@pytest.fixture
def content_of() -> Callable[[Path], dict[str, object]]:
    """Everything in a member's directory that must not depend on time or interruptions, by relative path."""
    told = ("status.json", "log.txt", "environment.json", "history.csv")

    def read(path: Path) -> dict[str, object]:
        found: dict[str, object] = {
            file.relative_to(path).as_posix(): file.read_bytes()
            for file in path.rglob("*")
            if file.is_file() and file.name not in told
        }
        with (path / "history.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        found["history.csv"] = [
            {key: value for key, value in row.items() if key not in ("seconds", "images_per_second")} for row in rows
        ]
        return found

    return read


@pytest.fixture(scope="session")
def trained(train_tiny: Callable[..., Member], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A member of two folds, in bf16 and deterministic mode."""
    wish: dict[str, Any] = {"folds": 2, "precision": "bf16", "deterministic": True, "augment": "full", "epochs": 1}
    return train_tiny(tmp_path_factory.mktemp("trained") / "runs", **wish).path


@pytest.fixture
def member(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "runs" / "members" / trained.name))


@pytest.fixture
def rewrite() -> Callable[..., None]:
    """Change a file of a member and its checksum, as if training had written it so."""

    def write(path: Path, name: str, content: Any) -> None:
        write_bytes(path / name, content) if isinstance(content, bytes) else write_json(path / name, content)
        status = read_json(path / "status.json")
        files = status["files"] | {name: file_digest(path / name)}
        write_json(path / "status.json", sealed(status | {"files": files}))

    return write


@pytest.fixture
def plan(tiny_npz: Path, tmp_path: Path) -> Callable[..., Plan]:
    """Plan a small member; keyword arguments are settings."""

    def make(data: Path = tiny_npz, out: Path = tmp_path / "runs", known: Plan | None = None, **changes: Any) -> Plan:
        asked: dict[str, Any] = {
            "arch": "unet-baseline(filters=2, depth=1)",
            "loss": "ce",
            "device": "cpu",
            "precision": "fp32",
        } | changes
        return plan_member(TrainSettings(data=str(data), **asked), out, known=known)

    return make

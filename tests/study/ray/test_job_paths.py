"""Which files a job names, and others in their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from ensemble.study.jobs import Job
from ensemble.study.ray.job_paths import moved, paths_of

# ---------------------------------------------------------------- what a job names


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job that names five files and a folder."""
    for name in ("mine.toml", "weights.pt", "suspects.csv", "plugin.py"):
        (tmp_path / name).touch()
    (tmp_path / "tiles").mkdir()
    arguments = {
        "data": str(tmp_path / "tiles"),
        "arch": "unet",
        "arch_options": {"encoder_weights": str(tmp_path / "weights.pt"), "filters": 8},
        "loss": "ce",
        "augment": f"flips + {tmp_path / 'mine.toml'}",
        "exclude": f"{tmp_path / 'suspects.csv'}:repeated-mask,almost-void",
        "out": str(tmp_path / "runs"),
    }
    return Job("first", "unet-ce-s0-000000", arguments, (str(tmp_path / "plugin.py"),))


def test_a_job_names_its_files_and_takes_others_instead(job: Job, tmp_path: Path) -> None:
    names = ["tiles", "suspects.csv", "mine.toml", "weights.pt", "plugin.py"]
    assert paths_of(job) == tuple(str(tmp_path / name) for name in names)
    there = moved(job, lambda text: text.replace(str(tmp_path), "/there") if text in paths_of(job) else text)
    assert there.arguments == {
        "data": "/there/tiles",
        "arch": "unet",
        "arch_options": {"encoder_weights": "/there/weights.pt", "filters": 8},
        "loss": "ce",
        "augment": "flips + /there/mine.toml",
        "exclude": "/there/suspects.csv:repeated-mask,almost-void",
        "out": str(tmp_path / "runs"),
    }
    assert there.plugins == ("/there/plugin.py",)


def test_names_that_are_no_files_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sample").touch()
    for folder in ("imagenet", "flips"):
        (tmp_path / folder).mkdir()
    arguments = {"data": "sample", "encoder_weights": "imagenet", "augment": "flips", "exclude": None}
    assert paths_of(Job("one", "one", arguments)) == ()
    (tmp_path / "a:b.csv").touch()
    assert paths_of(Job("one", "one", {"exclude": "a:b.csv"})) == ("a:b.csv",)
    there = moved(Job("one", "one", {"exclude": "a:b.csv"}), lambda text: f"/there/{text}")
    assert there.arguments["exclude"] == "/there/a:b.csv"

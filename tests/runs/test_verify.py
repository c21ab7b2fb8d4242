"""Every damaged or missing file is named, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ensemble.combining.combine import combine
from ensemble.core.errors import EnsError
from ensemble.core.files import read_json, write_json
from ensemble.runs.member import Member
from ensemble.runs.verify import verify


@pytest.fixture(scope="module")
def combined(tiny_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trained members and an ensemble of them."""
    runs = Path(shutil.copytree(tiny_runs, tmp_path_factory.mktemp("verified") / "runs"))
    members = [Member.open(path) for path in sorted((runs / "members").iterdir())]
    combine(members, method="average", runs=runs, folds=2)
    return runs


@pytest.fixture
def runs(combined: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(combined, tmp_path / "runs"))


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_whole_runs_have_no_problem_and_every_file_with_a_checksum_is_looked_at(runs: Path) -> None:
    ticks: list[tuple[int, int]] = []
    found = verify(runs, lambda task, done, total, *_: ticks.append((done, total)))
    assert (found.members, found.ensembles, found.unfinished, found.problems) == (2, 1, [], [])
    told = ("status.json", "environment.json", "log.txt")
    files = [file for file in runs.rglob("*") if file.is_file() and file.name not in told]
    assert found.files == len(files)
    assert ticks == [(1, 3), (2, 3), (3, 3)]


def test_every_file_is_missed_and_its_damage_is_seen(runs: Path) -> None:
    told = ("status.json", "environment.json", "log.txt")
    for file in sorted(file for file in runs.rglob("*") if file.is_file() and file.name not in told):
        content = file.read_bytes()
        flip(file)
        (problem,) = verify(runs).problems
        assert str(file) in problem
        file.unlink()
        first, *more = verify(runs).problems
        assert str(file if file.name != "manifest.json" else file.parent) in first
        assert more == []
        file.write_bytes(content)
    assert verify(runs).problems == []


def test_all_damaged_files_are_named_at_once(runs: Path) -> None:
    one, other = sorted((runs / "members").iterdir())
    damaged = [one / "weights-f0.safetensors", one / "scores.json", other / "probabilities/test/chunk-00000.zst"]
    for file in damaged:
        flip(file)
    (other / "status.json").write_text("{")
    problems = verify(runs).problems
    named = [*damaged[:2], other / "status.json"]  # without a status nobody knows what the other one should hold
    assert [any(str(file) in problem for problem in problems) for file in named] == [True] * 3
    assert len(problems) == 3


@pytest.mark.parametrize("files", [None, [], {"scores.json": 3}])
def test_checksums_that_are_missing_are_problems(runs: Path, files: Any) -> None:
    path = next((runs / "members").iterdir())
    write_json(path / "status.json", read_json(path / "status.json") | {"files": files})
    problems = verify(runs).problems
    assert len(problems) == 4
    assert all(
        problem.endswith("differs from what was written (damaged or edited); train it again") for problem in problems
    )


def test_an_ensemble_without_its_member_is_told(runs: Path) -> None:
    gone = next((runs / "members").iterdir())
    shutil.rmtree(gone)
    (problem,) = verify(runs).problems
    assert problem.endswith(f"needs the member {gone.name}, which is missing; train it again")


def test_an_unfinished_member_is_no_damage_but_its_checkpoint_may_be(
    runs: Path, train_tiny: Callable[..., Member]
) -> None:
    def stop(task: str, done: int, total: int, note: str = "", /) -> None:
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_tiny(runs, seed=9, progress=stop)
    found = verify(runs)
    assert (found.members, found.problems) == (2, [])
    assert found.unfinished == ["unet-baseline-ce-s9-" + found.unfinished[0][20:26] + " (interrupted)"]
    (checkpoint,) = (runs / "members").glob("*/checkpoint-f0.pt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1000])
    (problem,) = verify(runs).problems
    assert f"{checkpoint} is damaged" in problem


def test_a_folder_without_runs_is_told(tmp_path: Path) -> None:
    with pytest.raises(EnsError, match=r"there is no folder .*nowhere; give the folder that holds members"):
        verify(tmp_path / "nowhere")
    with pytest.raises(EnsError, match=r"expected members/ or ensembles/ in .*, but it holds neither; check"):
        verify(tmp_path)

"""The benchmark of damaged files: every damage does what it is called."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

BENCHMARK = Path(__file__).parents[2] / "experiments" / "benchmarks" / "corruption.py"


@pytest.fixture(scope="module")
def damage() -> Any:
    """The class of the benchmark."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # the benchmark sets it
        return runpy.run_path(str(BENCHMARK))["Damage"]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in "ab":
        (tmp_path / name / "store").mkdir(parents=True)
        (tmp_path / name / "store" / "file").write_text(f"{name}123456789")
        (tmp_path / name / "x.json").write_text("{}\n")
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "place", "left"),
    [("flipped", 0.0, b"e123456789"), ("flipped", 1.0, b"a12345678="), ("cut", 0.5, b"a1234"), ("emptied", 0.0, b"")],
)
def test_bytes_change(damage: Any, runs: Path, kind: str, place: float, left: bytes) -> None:
    assert damage(Path("a/store/file"), kind, place).do(runs)
    assert (runs / "a" / "store" / "file").read_bytes() == left


def test_files_and_folders_are_deleted_replaced_and_exchanged(damage: Any, runs: Path) -> None:
    one, other = Path("a/store"), Path("b/store")
    assert damage(one / "file", "exchanged", other=other / "file").do(runs)
    assert [(runs / path / "file").read_text()[0] for path in (one, other)] == ["b", "a"]
    assert damage(one, "replaced", other=other).do(runs)
    assert [(runs / path / "file").read_text()[0] for path in (one, other)] == ["a", "a"]
    assert not damage(one / "file", "replaced", other=other / "file").do(runs)  # the two are equal
    assert damage(one, "deleted").do(runs)
    assert sorted(path.name for path in (runs / "a").iterdir()) == ["x.json"]


def test_the_end_of_the_last_line_is_no_damage(damage: Any, runs: Path) -> None:
    assert not damage(Path("a/x.json"), "cut", 0.7).do(runs)
    assert (runs / "a" / "x.json").read_text() == "{}\n"

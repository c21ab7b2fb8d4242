"""Limits of containers and clusters, as the kernel shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ensemble.core import reading
from ensemble.core.cgroups import free_in_groups

GB = 10**9


def group(folder: Path, limit: int | str, used: int, spare: int, version: int) -> None:
    """Write the files of a control group."""
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    key = "inactive_file" if version == 2 else "total_inactive_file"
    (folder / "memory.stat").write_text(f"anon 5\n{key} {spare}\n")


def membership(folder: Path, *lines: str) -> Path:
    """Write what the kernel says about the groups of a process."""
    (folder / "cgroup").write_text("".join(f"{line}\n" for line in lines))
    return folder / "cgroup"


def test_a_container_sees_its_limit_at_the_root(tmp_path: Path) -> None:
    group(tmp_path / "fs", 4 * GB, 3 * GB, GB // 2, version=2)
    assert free_in_groups(tmp_path / "fs", membership(tmp_path, "0::/")) == GB + GB // 2


def test_the_tightest_group_on_the_way_up_counts(tmp_path: Path) -> None:
    group(tmp_path / "fs/slurm/job_7", 8 * GB, 6 * GB, 0, version=2)
    group(tmp_path / "fs/slurm/job_7/task_0", "max", 6 * GB, 0, version=2)
    group(tmp_path / "fs/slurm", 64 * GB, 60 * GB, 0, version=2)
    assert free_in_groups(tmp_path / "fs", membership(tmp_path, "0::/slurm/job_7/task_0")) == 2 * GB


def test_the_first_version_has_a_folder_for_memory(tmp_path: Path) -> None:
    group(tmp_path / "fs/memory/docker/a", 2 * GB, 3 * GB, 0, version=1)
    group(tmp_path / "fs/cpu/docker/a", 1, 0, 0, version=1)
    lines = ("5:cpu,cpuacct:/docker/a", "4:memory:/docker/a", "0::/")
    assert free_in_groups(tmp_path / "fs", membership(tmp_path, *lines)) == 0  # never negative


@pytest.mark.parametrize("limit", ["max", "damaged"])
def test_without_a_limit_there_is_no_number(tmp_path: Path, limit: str) -> None:
    group(tmp_path / "fs", limit, GB, 0, version=2)
    assert free_in_groups(tmp_path / "fs", membership(tmp_path, "0::/")) is None
    assert free_in_groups(tmp_path / "gone", tmp_path / "gone") is None


@pytest.mark.parametrize(("left", "free"), [(None, 3 * GB), (2 * GB, 2 * GB), (5 * GB, 3 * GB)])
def test_free_is_what_machine_and_group_both_have(monkeypatch: pytest.MonkeyPatch, left: int | None, free: int) -> None:
    monkeypatch.setattr(reading.psutil, "virtual_memory", lambda: type("", (), {"available": 3 * GB}))
    monkeypatch.setattr(reading, "free_in_groups", lambda: left)
    assert reading.free_memory() == free

"""The memory that containers and clusters leave to this process: limits of control groups (Linux)."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

# Limit, use, and the part of the use that the kernel gives back when it is needed: files that nobody reads now.
_VERSION_2 = ("memory.max", "memory.current", "inactive_file")
_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def free_in_groups(mounted: Path = Path("/sys/fs/cgroup"), groups: Path = Path("/proc/self/cgroup")) -> int | None:
    """Return the bytes that the tightest control group of this process leaves, or None without a limit.

    Docker, Kubernetes and SLURM limit memory in this way, and `psutil` sees that of the whole machine.

    Args:
        mounted: folder in which the kernel shows the groups.
        groups: file that lists the groups of this process.
    """
    left = [free for folder, names in _folders(mounted, groups) if (free := _free(folder, names)) is not None]
    return min(left, default=None)


def _folders(mounted: Path, groups: Path) -> Generator[tuple[Path, tuple[str, str, str]]]:
    """Yield the folder of every memory group that holds this process, the innermost first, and the names of its files.

    Inside a container the group of the process may be the root of what is mounted.
    """
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, names = (mounted / "memory", _VERSION_1) if controllers else (mounted, _VERSION_2)
        inner = root / path.lstrip("/")
        yield from ((folder, names) for folder in (inner, *inner.parents) if folder.is_relative_to(root))


def _free(folder: Path, names: tuple[str, str, str]) -> int | None:
    limit, used, spare = names
    try:
        most = int((folder / limit).read_text())  # "max" without a limit
        in_use = int((folder / used).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return max(0, most - in_use + int(stat.get(spare, 0)))
    except (OSError, ValueError):
        return None

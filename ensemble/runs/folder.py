"""A folder of runs: find a run by its name, read its status, check its files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from ensemble.config import FORMAT_VERSION
from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.files import file_digest, read_json


def find_run(model: str | Path, runs: str | Path = "runs") -> Path:
    """Directory of a member or ensemble given by path, name or unique beginning of its name.

    Raises:
        UnknownName: nothing, or more than one thing, is called that.
    """
    if (Path(model) / "status.json").is_file():
        return Path(model)
    found = {path.parent.name: path.parent for path in Path(runs).glob("*/*/status.json")}
    near = [name for name in found if name.startswith(str(model))]
    if str(model) in found:
        return found[str(model)]
    if len(near) != 1:
        raise UnknownName("member or ensemble", str(model), found)
    return found[near[0]]


def read_status(path: Path) -> dict[str, Any]:
    """Status of a member or ensemble directory, after checking that this version can read it."""
    if not (path / "status.json").is_file():
        raise EnsError(
            f"expected a member or ensemble directory with a status.json, found none in {path}; check the path"
        )
    content = read_json(path / "status.json")
    status = cast(dict[str, Any], content if isinstance(content, dict) else {})
    version = status.get("format_version")
    if not isinstance(version, int):
        raise EnsError(f"{path / 'status.json'} is damaged (no format_version); make the directory again")
    if version > FORMAT_VERSION:
        raise EnsError(
            f"{path} was written in format {version}, this version reads up to {FORMAT_VERSION}; upgrade ens-toolkit"
        )
    return status


def check_files(path: Path, digests: Mapping[str, str], names: Iterable[str], cure: str = "train it again") -> None:
    """Compare files with the digests recorded when they were written; ``cure`` is what the error advises."""
    for name in names:
        if not (path / name).is_file():
            raise EnsError(f"{path / name} is missing; the directory is incomplete, {cure}")
        if name not in digests or file_digest(path / name) != digests[name]:
            raise EnsError(f"{path / name} differs from what was written (damaged or edited); {cure}")


def damaged_checkpoint(path: Path, error: Exception) -> EnsError:
    """Return the error of a checkpoint that cannot be read, with the first sentence of its cause."""
    reason = str(error).partition("\n")[0].partition(". ")[0]
    return EnsError(
        f"{path} is damaged ({type(error).__name__}: {reason}); delete it and repeat the command to train this fold"
        " again"
    )


def find_members(runs: Path) -> Iterator[Path]:
    """Directories of finished members, oldest first."""
    found = [path.parent for path in (runs / "members").glob("*/status.json")]
    finished = [path for path in found if read_status(path).get("state") == "complete"]
    return iter(sorted(finished, key=lambda path: (read_status(path).get("finished", ""), path.name)))

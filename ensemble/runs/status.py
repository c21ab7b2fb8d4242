"""The status of a run: its kind, state, format version and file digests; it is written last and read first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.files import atomic, file_digest, read_json, write_json
from ensemble.runs.layout import CHECKED, CONFIG, CONFUSIONS, FORMAT_VERSION, SCORES, STATUS, Kind, State, is_run

ADVICE = {"member": "train it again", "ensemble": "combine the members again"}
"""What to do about a damaged run, by kind."""


def read_status(path: Path) -> dict[str, Any]:
    """Return the status of a member or ensemble directory that this version can read.

    Raises:
        EnsError: the directory is not a run, its status is damaged, or another version wrote it.
    """
    if not is_run(path):
        raise EnsError(f"expected the directory of a member or ensemble, but {path} has no {STATUS}; check the path")
    content = read_json(path / STATUS)
    status = cast(dict[str, Any], content if isinstance(content, dict) else {})
    version = status.get("format_version")
    if not isinstance(version, int):
        raise EnsError(f"{path / STATUS} is damaged (no format_version); make the directory again")
    if version != FORMAT_VERSION:
        advice = "upgrade ens-toolkit" if version > FORMAT_VERSION else "make it again"
        raise EnsError(f"{path} has format {version}, but this version reads format {FORMAT_VERSION}; {advice}")
    return status


def run_state(path: Path) -> str | None:
    """Return the state of a run, or None if the directory is not a run."""
    return read_status(path).get("state") if is_run(path) else None


def is_complete(path: Path) -> bool:
    """Return whether a directory is a finished member or ensemble."""
    return run_state(path) == "complete"


def digests_of(status: Mapping[str, Any]) -> dict[str, str]:
    """Return the digests that a status records, by file name."""
    recorded: Any = status.get("files")
    return {str(name): str(value) for name, value in recorded.items()} if isinstance(recorded, dict) else {}


def check_files(path: Path, status: Mapping[str, Any], names: Iterable[str]) -> None:
    """Compare files of a run with the digests in its status.

    Raises:
        EnsError: a file is missing or differs; the text advises how to make the run again.
    """
    digests, advice = digests_of(status), ADVICE.get(str(status.get("kind")), "make it again")
    for name in names:
        if not (path / name).is_file():
            raise EnsError(f"{path / name} is missing; the directory is incomplete, {advice}")
        if digests.get(name) != file_digest(path / name):
            raise EnsError(f"{path / name} differs from what was written (damaged or edited); {advice}")


def damaged_checkpoint(path: Path, error: Exception) -> EnsError:
    """Return the error for a checkpoint that cannot be read, with the first sentence of its cause."""
    reason = str(error).partition("\n")[0].partition(". ")[0]
    return EnsError(
        f"{path} is damaged ({type(error).__name__}: {reason}); delete it and repeat the command to train this fold"
        " again"
    )


def write_status(path: Path, kind: Kind, state: State, **more: Any) -> None:
    """Replace the status of a run by its kind, its state and ``more``."""
    write_json(path / STATUS, {"format_version": FORMAT_VERSION, "kind": kind, "state": state, **more})


def write_config(path: Path, kind: Kind, content: Mapping[str, Any]) -> None:
    """Write the configuration of a run under its kind and format version."""
    write_json(path / CONFIG, {"format_version": FORMAT_VERSION, "kind": kind, **content})


def finish_run(
    path: Path,
    kind: Kind,
    scores: Mapping[str, Any],
    tables: Mapping[str, NDArray[Any]],
    *,
    weights: Iterable[str] = (),
    **more: Any,
) -> None:
    """Write the scores and per-image tables of a run, and then the status that makes it complete.

    Args:
        path: directory of the run, which holds its configuration (and, for a member, its history).
        kind: member or ensemble.
        scores: content of ``scores.json``.
        tables: arrays with a row per image, for ``confusions.npz``.
        weights: names of further files whose digests the status records.
        more: further entries of the status, such as the time it took.
    """
    write_json(path / SCORES, scores)
    with atomic(path / CONFUSIONS) as stream:
        np.savez_compressed(stream, allow_pickle=False, **tables)
    files = {name: file_digest(path / name) for name in (*CHECKED[kind], *weights)}
    finished = datetime.now(UTC).isoformat()
    write_status(path, kind, "complete", **{"finished": finished, **more, "files": files})

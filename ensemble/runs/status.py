"""The status of a run: its kind, state, format version and file digests; it is written last and read first."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.core.files import atomic, file_digest, is_sealed, sealed, write_json
from ensemble.runs.layout import (
    BUNDLED,
    CHECKED,
    CONFIG,
    CONFUSIONS,
    ENVIRONMENT,
    FORMAT_VERSION,
    OLD_FORMAT,
    SCORES,
    SPLITS,
    STATUS,
    Kind,
    State,
    ensembles_folder,
    evaluations_folder,
    is_run,
    manifest_name,
)
from ensemble.runs.run_files import bundle_of, digest_of, holds, read_content


class RunToKeep(EnsError):
    """A run that nobody should delete: it needs a newer version, a member, one fold again, or its name.

    Attributes:
        renamed: the name of the run, if its directory has another one.
    """

    def __init__(self, text: str, renamed: str = "") -> None:
        super().__init__(text)
        self.renamed = renamed


def read_status(path: Path) -> dict[str, Any]:
    """Return the status of a member or ensemble directory that this version can read.

    Raises:
        EnsError: the directory is not a run, its status is lost or damaged, or another version wrote it.
    """
    file = path / STATUS
    if not is_run(path) and bundle_of(path) is None:
        raise EnsError(f"expected the directory of a member or ensemble, got {path}, which is none; check the path")
    if not holds(file):
        raise EnsError(f"{path} has lost its {STATUS}, so nobody knows what it should hold; {advice(path)}")
    content: Any = _read(path, STATUS)
    status = cast(dict[str, Any], content if isinstance(content, dict) else {})
    version = status.get("format_version")
    if not isinstance(version, int):
        raise EnsError(f"{file} is damaged (no format_version); {advice(path)}")
    if version not in (OLD_FORMAT, FORMAT_VERSION):
        known = f"this version reads formats {OLD_FORMAT} and {FORMAT_VERSION}"
        text = f"{path} has format {version}, but {known}"
        raise (
            RunToKeep(f"{text}; upgrade ens-toolkit")
            if version > FORMAT_VERSION
            else EnsError(f"{text}; {advice(path)}")
        )
    if version != OLD_FORMAT and not is_sealed(status):
        raise EnsError(f"{file} differs from what was written (damaged or edited); {advice(path)}")
    return status


def read_config(path: Path, status: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of a finished run, and check that it belongs to this directory.

    Raises:
        EnsError: it is missing, differs from what was written, or is that of another run.
    """
    check_files(path, status, (CONFIG,))
    content: Any = _read(path, CONFIG)
    if not isinstance(content, dict):
        raise EnsError(f"{path / CONFIG} is damaged (no JSON object); {advice(path)}")
    config = cast(dict[str, Any], content)
    for key in ("format_version", "kind"):
        if config.get(key) != status.get(key):
            raise EnsError(f"{path / STATUS} is damaged ({key} is not that of {CONFIG}); {advice(path)}")
    if not is_old(status) and config.get("name") != path.absolute().name:
        raise RunToKeep(
            f"{path} holds the run {config.get('name')}: the directory was renamed or exchanged; give it that name"
            " again",
            renamed=str(config.get("name")),
        )
    return config


def _read(path: Path, name: str) -> Any:
    try:
        return read_content(path / name)
    except EnsError as error:
        raise EnsError(str(error).rpartition("; ")[0] + f"; {advice(path)}") from None


def is_old(status: Mapping[str, Any]) -> bool:
    """Return whether version 0.1 or 0.2 wrote the run, with digests of some files only."""
    return status.get("format_version") == OLD_FORMAT


def advice(path: Path) -> str:
    """Return what to do about a damaged run."""
    if bundle_of(path) is not None:
        return "make the bundle again"
    place = path.absolute()
    runs = place.parent.parent
    again = {ensembles_folder(runs): "combine the members again", evaluations_folder(runs): "evaluate it again"}.get(
        place.parent, "train it again"
    )
    return f"remove it with `{remove_command(path)}` and {again}"


def remove_command(path: Path) -> str:
    """Return the command that removes a run; it names the folder of runs if that is not ``runs``."""
    place = path.absolute()
    runs = place.parent.parent
    where = "" if runs == Path("runs").absolute() else f" --runs {shlex.quote(str(runs))}"
    return f"ens remove {place.name}{where}"


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
    digests = digests_of(status)
    for name in names:
        if not holds(path / name):
            raise EnsError(f"{path / name} is missing; {advice(path)}")
        if digests.get(name) != digest_of(path / name):
            raise EnsError(f"{path / name} differs from what was written (damaged or edited); {advice(path)}")


def checked_files(path: Path, kind: Kind) -> tuple[str, ...]:
    """Return the files that are compared with their digests when a run is opened; a bundle keeps some of them."""
    return CHECKED[kind] if bundle_of(path) is None else BUNDLED


def missing_files(path: Path) -> list[str]:
    """Return the names of recorded files that a finished run has lost; the content of the others is not looked at."""
    return [name for name in digests_of(read_status(path)) if not (path / name).is_file()]


def check_recorded(path: Path, status: Mapping[str, Any], name: str) -> bool:
    """Return whether a file that not every run has belongs to the run, and compare it with its digest.

    Version 0.1 and 0.2 recorded no digest of such a file; there it belongs to the run if it exists.

    Raises:
        EnsError: the file is missing or differs.
    """
    if name not in digests_of(status):
        return is_old(status) and holds(path / name)
    check_files(path, status, (name,))
    return True


def damaged_checkpoint(path: Path, error: Exception) -> RunToKeep:
    """Return the error for a checkpoint that cannot be read, with the first sentence of its cause."""
    reason = str(error).partition("\n")[0].partition(". ")[0]
    return RunToKeep(
        f"{path} is damaged ({type(error).__name__}: {reason}); delete it and repeat the command to train this fold"
        " again"
    )


def write_status(path: Path, kind: Kind, state: State, **more: Any) -> None:
    """Replace the status of a run by its kind, its state and ``more``, under a digest of all of them."""
    write_json(path / STATUS, sealed({"format_version": FORMAT_VERSION, "kind": kind, "state": state, **more}))


def write_config(path: Path, kind: Kind, content: Mapping[str, Any], name: str | None = None) -> None:
    """Write the configuration of a run under its kind, format version and name (default: that of the directory)."""
    head = {"format_version": FORMAT_VERSION, "kind": kind, "name": name or path.name}
    write_json(path / CONFIG, head | dict(content))


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

    The status holds the digests of all files that are ever read again. The manifest of a store holds those of its
    chunks, the status holds one of itself, and the configuration holds the name: so no byte can be exchanged unseen.

    Args:
        path: directory of the run, which holds its configuration (and, for a member, history and stores).
        kind: member or ensemble.
        scores: content of ``scores.json``.
        tables: arrays with a row per image, for ``confusions.npz``.
        weights: names of the files of weights.
        more: further entries of the status, such as the time it took.
    """
    write_json(path / SCORES, scores)
    with atomic(path / CONFUSIONS) as stream:
        np.savez_compressed(stream, allow_pickle=False, **tables)
    present = [name for name in (ENVIRONMENT, *map(manifest_name, SPLITS)) if (path / name).is_file()]
    files = {name: file_digest(path / name) for name in (*CHECKED[kind], *weights, *present)}
    finished = datetime.now(UTC).isoformat()
    write_status(path, kind, "complete", **{"finished": finished, **more, "files": files})

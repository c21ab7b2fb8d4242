"""Pack runs into one file with which a reviewer recomputes every score and every verdict, with NumPy alone."""

from __future__ import annotations

import io
import shlex
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ensemble.combining.alignment import align
from ensemble.combining.recompute import NEEDED, background_of
from ensemble.core.errors import EnsError
from ensemble.core.files import atomic, check_file, json_text
from ensemble.core.foreground import foreground
from ensemble.core.progress import Progress, no_progress
from ensemble.evaluation.void import VOID
from ensemble.export.pack_texts import columns_to_check, program_texts, read_me, without_paths
from ensemble.results.export import csv_text
from ensemble.results.table import scan
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.folder import find_run
from ensemble.runs.member import Member
from ensemble.runs.status import read_config, read_status
from ensemble.runs.store import Store, parts_of
from ensemble.runs.tables import read_tables

WHEN = (1980, 1, 1, 0, 0, 0)  # the same runs give the same bytes
TEXTS = ("advice", "notes")  # parts of a verdict that the program does not recompute; the pack leaves them out


@dataclass(frozen=True)
class Packed:
    """Result of `pack`.

    Attributes:
        path: the file.
        bytes: its size.
        runs: the packed runs, as ``members/<name>``, ``ensembles/<name>`` or ``evaluations/<name>``.
        left_out: a sentence for each run that is not in the pack.
    """

    path: Path
    bytes: int
    runs: tuple[str, ...]
    left_out: tuple[str, ...]


def pack(
    runs: str | Path = "runs",
    *,
    out: str | Path,
    members: Sequence[str | Path] = (),
    progress: Progress = no_progress,
) -> Packed:
    """Write probabilities, labels, tables, settings and scores of runs, and a program that recomputes the scores.

    The file is a zip archive. Unpacked, ``python check.py`` recomputes every score of ``ens results``, its limits, and
    every verdict; it needs Python and NumPy only. The same runs give the same bytes.

    The pack holds validation labels and probabilities, ids and groups of the images, names of classes and of the data.
    It holds no image, no weights, no probabilities of test images, and no path: of paths in settings the last part
    stays.

    Args:
        runs: folder of runs.
        out: the file to write, ending with ``.zip``.
        members: runs to pack, by name, unique beginning or path; an ensemble stands for itself and its members. By
            default all members, ensembles and evaluations.
        progress: callback that receives the progress.

    Raises:
        EnsError: the folder holds no such run, a run is damaged, or the file cannot be written.
    """
    root, out = Path(runs), Path(out)
    if out.suffix.lower() != ".zip":
        raise EnsError(f"expected a zip file to write, got {out}; give a name such as paper.zip")
    check_file(out)
    table, problems = scan(root, progress, evaluations=True)
    paths = [Path(path) for path in table["path"]]
    if members:
        wanted = _named(root, members)
        for missing in wanted - {path.absolute() for path in paths}:
            say_more = f"`ens verify --runs {shlex.quote(str(runs))}` says more"
            raise EnsError(f"{missing.name} is not finished, or damaged: {say_more}; choose others")
        paths, problems = [path for path in paths if path.absolute() in wanted], []
    paths, more = _recomputable(paths)
    if not paths:
        raise EnsError(
            f"expected finished members in {runs}, got none that can be recomputed;"
            " choose the folder that holds members/, or train one first"
        )
    rows = table.set_index("path").loc[list(map(str, paths))].reset_index()
    names = [f"{path.parent.name}/{path.name}" for path in paths]
    rows = rows.assign(path=names)[list(table.columns)]
    with atomic(out) as stream, zipfile.ZipFile(stream, "w") as archive:
        _add_texts(archive, rows)
        for count, (name, path) in enumerate(zip(names, paths, strict=True)):
            progress("packing", count, len(paths), path.name)
            _add_run(archive, name, path)
        progress("packing", len(paths), len(paths))
    return Packed(out, out.stat().st_size, tuple(names), (*problems, *more))


def _named(root: Path, names: Sequence[str | Path]) -> set[Path]:
    """Return the directories of named runs, with the members of the ensembles among them."""
    wanted = set[Path]()
    for path in (find_run(name, root) for name in names):
        wanted.add(root.absolute() / path.absolute().parent.name / path.name)
        if read_status(path).get("kind") == "ensemble":
            wanted |= {root.absolute() / "members" / name for name in Ensemble.open(path).settings.members}
    return wanted


def _recomputable(paths: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Return the runs that can be recomputed, and a sentence on each of the others."""
    kept, left_out = list[Path](), list[str]()
    for path in sorted(paths, key=lambda path: path.parent.name != "members"):
        reason = _reason_against(path, {kept_path.name for kept_path in kept if kept_path.parent.name == "members"})
        if reason:
            left_out.append(f"{path.name} is left out: {reason}")
        else:
            kept.append(path)
    return [path for path in paths if path in kept], left_out


def _reason_against(path: Path, members: set[str]) -> str:
    if path.parent.name == "ensembles":
        ensemble = Ensemble.open(path)
        missing = [name for name in ensemble.settings.members if name not in members]
        if missing:
            return f"its members {', '.join(missing)} are not in the pack"
        if not ensemble.fold_pools:
            return "an earlier version wrote it without the pools of its folds; combine again"
    if not read_tables(path).tables.keys() >= NEEDED:
        return "an earlier version wrote it without all tables; make it again"
    return ""


def _add_texts(archive: zipfile.ZipFile, rows: pd.DataFrame) -> None:
    for name, text in program_texts().items():
        _add(archive, name, text.encode())
    columns = columns_to_check(rows)
    _add(archive, "README.txt", read_me(rows, columns).encode())
    _add(archive, "results.csv", csv_text(rows).encode())
    _add(archive, "columns.json", json_text(columns).encode())


def _add_run(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    """Add the description of a run, its tables, and the probabilities and labels of a member."""
    run, kind = read_tables(path), str(read_status(path)["kind"])
    place = foreground(run.values)
    about: dict[str, Any] = {
        "kind": kind,
        "classes": run.classes,
        "foreground": None if place is None or len(run.classes) != 2 else run.classes[place],
        "background": background_of(path, run),
        "ids": run.ids,
        "groups": run.groups,
    }
    config = read_config(path, read_status(path))
    about |= {key: without_paths(config[key]) for key in ("settings", "data") if key in config}
    if kind == "ensemble":
        ensemble = Ensemble.open(path)
        about |= {"members": ensemble.settings.members, "channels": align(ensemble.members()).channels}
        verdict = {key: value for key, value in ensemble.scores["verdict"].items() if key not in TEXTS}
        about |= {"fold_pools": ensemble.fold_pools, "verdict": verdict}
        if ensemble.rival_pools:
            about |= {"pool": ensemble.pool, "rival_pools": ensemble.rival_pools}
            about |= {name: ensemble.scores[name] for name in ("budget", "cascade") if name in ensemble.scores}
    _add(archive, f"{name}/run.json", json_text(about).encode())
    _add(archive, f"{name}/tables.npz", _npz(run.tables))
    if kind == "member":
        entry = _entry(f"{name}/probabilities.npz")
        with archive.open(entry, "w", force_zip64=True) as stream, zipfile.ZipFile(stream, "w") as inner:
            _add_store(inner, Member.open(path).store())


def _add_store(archive: zipfile.ZipFile, store: Store) -> None:
    """Add codes and labels of each image; of codes the differences of neighbours, which are small.

    Memory holds one image.
    """
    reader = store.reader()
    for image, (height, width) in enumerate(store.sizes):
        codes_khw = np.empty((len(store.classes), height, width), np.uint8)
        labels_hw = np.full((height, width), VOID, np.uint8)
        for part in parts_of(store.sizes, [image], pixels=1 << 22):
            codes, labels = reader.read(part)
            codes_khw[:, part.top : part.bottom] = codes[0]
            if labels is not None:
                labels_hw[part.top : part.bottom] = labels[0]
        steps = np.diff(np.diff(codes_khw, axis=1, prepend=np.uint8(0)), axis=2, prepend=np.uint8(0))
        for name, array in ((f"codes-{image:05d}", steps), (f"labels-{image:05d}", labels_hw)):
            with archive.open(_entry(f"{name}.npy", zipfile.ZIP_DEFLATED), "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)


def _npz(tables: Mapping[str, NDArray[Any]]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, table in sorted(tables.items()):
            content = io.BytesIO()
            np.lib.format.write_array(content, table, allow_pickle=False)
            _add(archive, f"{name}.npy", content.getvalue())
    return stream.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(_entry(name, zipfile.ZIP_DEFLATED), content)


def _entry(name: str, method: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    """Return an entry without time and owner."""
    entry = zipfile.ZipInfo(name, WHEN)
    entry.compress_type, entry.external_attr, entry.create_system = method, 0o644 << 16, 3
    return entry

"""Finished runs that are edited together with their checksums, as a careful forger does; members; own methods."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.combining import Combiner, pipeline
from ensemble.combining import registry as registry_of_methods
from ensemble.combining.alignment import align
from ensemble.core.files import file_digest, read_json, sealed, write_json
from ensemble.core.registry import Registry
from ensemble.runs.member import Member

MakeMember = Callable[..., Member]


def write_digests(path: Path) -> None:
    """Make the checksums of a run match its files."""
    status = read_json(path / "status.json")
    status["files"] = {name: file_digest(path / name) for name in status["files"]}
    write_json(path / "status.json", sealed({name: value for name, value in status.items() if name != "digest"}))


@pytest.fixture
def edit_json() -> Callable[..., None]:
    """Change the scores of a run, or its configuration, in place."""

    def edit(path: Path, change: Callable[[dict[str, Any]], Any], file: str = "scores.json") -> None:
        content = read_json(path / file)
        change(content)
        write_json(path / file, content)
        write_digests(path)

    return edit


@pytest.fixture
def edit_tables() -> Callable[..., None]:
    """Change tables of a run in place, each by its name."""

    def edit(path: Path, **changed: Callable[[Any], Any]) -> None:
        tables = {name: table.copy() for name, table in np.load(path / "confusions.npz").items()}
        for name, change in changed.items():
            change(tables[name])
        np.savez_compressed(path / "confusions.npz", allow_pickle=False, **tables)
        write_digests(path)

    return edit


@pytest.fixture
def methods(monkeypatch: pytest.MonkeyPatch) -> Registry[Combiner]:
    """A registry of this test's own."""
    registry: Registry[Combiner] = Registry("method")
    for module in (pipeline, registry_of_methods):
        monkeypatch.setattr(module, "COMBINERS", registry)
    return registry


@pytest.fixture
def aligned(tmp_path: Path, make_member: MakeMember) -> Any:
    """Three members of rising quality."""
    return align([make_member(tmp_path, f"net{i}", quality=quality) for i, quality in enumerate((0.5, 1.0, 2.0))])


@pytest.fixture
def members(tmp_path: Path, make_member: MakeMember) -> list[Member]:
    """Two members, the second one better."""
    return [
        make_member(tmp_path, "pspnet", quality=1.0, finished="2026-11-01T10:00:00+00:00"),
        make_member(tmp_path, "unet", quality=2.0, finished="2026-11-01T11:00:00+00:00"),
    ]

"""Fixtures of the tests of the report: runs, an explanation, and a report that all tests share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ensemble
from ensemble.config import DataSettings
from ensemble.data import open_dataset
from ensemble.explanation.explain import explain
from ensemble.explanation.result import Explanation
from ensemble.report.page import Report, write_report
from ensemble.runs.member import Member

HOSTILE = ("<script>document.title = 'owned'</script>", "a$b^$", '"><img src=x onerror=alert(1)>', "big rock")
"""Names of classes that the page must show as they are."""


@pytest.fixture(scope="session")
def make_runs(make_world: Callable[..., Any], make_member: Callable[..., Member]) -> Callable[..., Path]:
    """Return ``make_runs(folder, members=3)``: it makes members on 24 images in 12 groups, and their average."""

    def make(folder: Path, *, members: int = 3, combined: bool = True, classes: tuple[str, ...] = HOSTILE) -> Path:
        drawn = make_world(images=24, size=(32, 48), classes=classes)
        images = np.random.default_rng(0).integers(0, 255, drawn.masks_nhw.shape).astype(np.uint8)
        path, runs = folder / "tiny.npz", folder / "runs"
        folder.mkdir(parents=True, exist_ok=True)
        pairs = np.stack([images, drawn.masks_nhw], 1)
        np.savez(path, training_set=pairs, training_groups=np.arange(24) // 2, classes=np.array(["void", *classes]))
        dataset = open_dataset(DataSettings(source=str(path)))
        world = replace(drawn, source=str(path), ids=dataset.ids, data_hash=dataset.data_hash)
        for index in range(members):
            finished = f"2026-11-01T00:00:{index:02d}+00:00"
            make_member(runs, f"net<b>{index}", quality=0.6 + 0.4 * index, world=world, finished=finished)
        if combined:
            ensemble.combine(method="average", runs=runs)
        return runs

    return make


@pytest.fixture(scope="session")
def made(make_runs: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    """Return runs with hostile names and their report."""
    folder = tmp_path_factory.mktemp("report")
    runs = make_runs(folder)
    return runs, write_report(runs, folder / "report.html")


@pytest.fixture(scope="session")
def explanation(
    tmp_path_factory: pytest.TempPathFactory, make_world: Callable[..., Any], make_member: Callable[..., Member]
) -> Explanation:
    """Explain the average of three members on 12 images that can be opened again."""
    drawn = make_world(images=12, size=(32, 32))
    images = np.random.default_rng(0).integers(0, 255, drawn.masks_nhw.shape).astype(np.uint8)
    folder = tmp_path_factory.mktemp("explanation")
    path = folder / "tiny.npz"
    np.savez(path, training_set=np.stack([images, drawn.masks_nhw], 1), training_groups=np.arange(12) // 2)
    dataset = open_dataset(DataSettings(source=str(path)))
    world = replace(drawn, source=str(path), ids=dataset.ids, data_hash=dataset.data_hash)
    members = [make_member(folder, f"net{i}", quality=0.6 + 0.5 * i, world=world).name for i in range(3)]
    return explain(ensemble.combine(members, method="average", runs=folder).ensemble.path)

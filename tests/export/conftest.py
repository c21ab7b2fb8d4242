"""Small models that are exported."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from ensemble.runs.member import Member


@pytest.fixture(scope="session")
def small_runs(train_tiny: Callable[..., Member], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two members that differ in whatever a graph must hold: test-time augmentation, folds, input size."""
    runs = tmp_path_factory.mktemp("export-runs") / "runs"
    train_tiny(runs, arch="unet(filters=2, depth=2)", tta="hflip", val_fraction=0.5)
    train_tiny(runs, arch="unet-baseline(filters=2, depth=1)", seed=1, val_fraction=0.5)
    return runs


@pytest.fixture(scope="session", autouse=True)
def _without_traces() -> None:
    """Keep torch from writing every step of an export as JSON into pytest's log, which takes most of the time."""
    logging.getLogger("torch.__trace").setLevel(logging.WARNING)

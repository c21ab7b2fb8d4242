"""Data sets in memory, of any number of bands and any type."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ensemble.data import Dataset
from ensemble.data.formats.source import ArraySource


def dataset_in_memory(images_nhwc: NDArray[np.generic], labels_nhw: NDArray[np.uint8], classes: int = 3) -> Dataset:
    """A data set of these images; labels are ``0..classes-1`` and 255 for void."""
    ids = tuple(str(row) for row in range(len(images_nhwc)))
    names = {k: f"class {k}" for k in range(classes)}
    counts: Any = np.stack([np.bincount(labels.ravel(), minlength=256) for labels in labels_nhw])
    source = ArraySource(
        images_nhwc, labels_nhw, images_nhwc[:0], ids, (), None, names, (0.0, 255.0), "memory", "class"
    )
    return Dataset("memory", source, "class", tuple(names.values()), tuple(names), names, counts, "memory")


@pytest.fixture(scope="session")
def dataset_of() -> Callable[..., Dataset]:
    """Factory of data sets in memory: see ``dataset_in_memory``."""
    return dataset_in_memory


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: folder)
    return folder

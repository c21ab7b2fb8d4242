"""A grid of simulated members on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Make = Callable[..., Any]
QUALITY = {"unet": 1.6, "linknet": 1.0}


@pytest.fixture
def grid(tmp_path: Path, make_member: Make, make_world: Make) -> list[Path]:
    """Two architectures, three seeds each, 60 images in 30 groups."""
    world = make_world(images=60)
    members = [make_member(tmp_path, n, quality=q, seed=s, world=world) for n, q in QUALITY.items() for s in range(3)]
    return [member.path for member in members]

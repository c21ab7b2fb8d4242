"""How long a member trains: steps, epochs or a budget, and never two of them."""

from __future__ import annotations

from typing import Any

import pytest

from ensemble.config import TrainSettings
from ensemble.training.length import DEFAULT_STEPS, check_length, epochs_for_steps, resolve_epochs


@pytest.mark.parametrize(
    ("steps", "rows", "batch_size", "epochs"),
    [
        (600, 96, 32, 200),  # 3 steps an epoch
        (600, 424, 32, 46),  # 13 steps an epoch: 598
        (600, 12, 32, 600),  # one batch holds all images
        (600, 40_000, 32, 1),  # one epoch is longer
        (7, 64, 32, 4),  # 3.5 epochs of 2 steps
        (1, 64, 32, 1),
    ],
)
def test_epochs_come_nearest_to_the_steps(steps: int, rows: int, batch_size: int, epochs: int) -> None:
    assert epochs_for_steps(steps, rows, batch_size) == epochs


@pytest.mark.parametrize(
    ("given", "epochs"),
    [({}, DEFAULT_STEPS // 3), ({"steps": 30}, 10), ({"epochs": 30}, 30), ({"budget": 60.0}, None)],
)
def test_each_way_to_say_it(given: dict[str, Any], epochs: int | None) -> None:
    asked = TrainSettings(**given)
    check_length(asked)
    assert resolve_epochs(asked, 96) == epochs

"""How long a member trains: steps, epochs or a budget, and never two of them."""

from __future__ import annotations

from typing import Any

import pytest

from ensemble.config import TrainSettings
from ensemble.training.length import DEFAULT_STEPS, check_length, epochs_for_steps, resolve_length


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
    assert resolve_length(asked, 96, windows=False) == (None if epochs is None else (epochs, None))


def test_an_epoch_of_windows_ends_with_the_steps_that_are_asked_for() -> None:
    asked = TrainSettings(steps=30, batch_size=8)
    assert resolve_length(asked, 1044, windows=True) == (1, 30)
    assert resolve_length(asked, 1044, windows=False) == (1, None)  # the names of older members stay
    assert resolve_length(TrainSettings(steps=260, batch_size=8), 1044, windows=True) == (2, None)

"""How long a member trains: its epochs, given as such or as optimiser steps; `budget` turns seconds into epochs."""

from __future__ import annotations

from typing import NamedTuple

from ensemble.config import TrainSettings
from ensemble.core.errors import EnsError
from ensemble.training.batches import steps_per_epoch

DEFAULT_STEPS = 600  # of a member that names no length; chosen by measurement, see experiments/README.md
_LENGTHS = ("steps", "epochs", "budget")


def check_length(asked: TrainSettings) -> None:
    """Refuse settings that say more than once how long to train."""
    given = [name for name in _LENGTHS if getattr(asked, name) is not None]
    if len(given) > 1:
        raise EnsError(
            f"expected one of steps, epochs and budget, got {' and '.join(given)}; each of them says how long to train,"
            " so keep one"
        )


class Length(NamedTuple):
    """How long a member trains: its epochs, and the steps of an epoch if it ends before it has shown all windows."""

    epochs: int
    epoch_steps: int | None = None


def resolve_length(asked: TrainSettings, rows: int, *, windows: bool) -> Length | None:
    """Return the length, or None if a time budget decides.

    One epoch of windows of large images may be longer than the steps that are asked for; it is cut then.

    Args:
        asked: the settings as the user gave them.
        rows: number of training images of the fold that has the fewest, or of their windows.
        windows: whether windows are trained on.
    """
    if asked.budget is not None:
        return None
    if asked.epochs is not None:
        return Length(asked.epochs)
    steps = asked.steps or DEFAULT_STEPS
    if windows and steps < steps_per_epoch(rows, asked.batch_size):
        return Length(1, steps)
    return Length(epochs_for_steps(steps, rows, asked.batch_size))


def epochs_for_steps(steps: int, rows: int, batch_size: int) -> int:
    """Return the number of epochs (at least 1) whose steps come nearest to ``steps``.

    >>> epochs_for_steps(600, 424, 32), epochs_for_steps(600, 40_000, 32)
    (46, 1)
    """
    return max(1, round(steps / steps_per_epoch(rows, batch_size)))

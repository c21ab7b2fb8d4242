"""How long a member trains: its epochs, given as such or as optimiser steps; `budget` turns seconds into epochs."""

from __future__ import annotations

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


def resolve_epochs(asked: TrainSettings, rows: int) -> int | None:
    """Return the number of epochs, or None if a time budget decides.

    Args:
        asked: the settings as the user gave them.
        rows: number of training images of the fold that has the fewest.
    """
    if asked.epochs is not None or asked.budget is not None:
        return asked.epochs
    return epochs_for_steps(asked.steps or DEFAULT_STEPS, rows, asked.batch_size)


def epochs_for_steps(steps: int, rows: int, batch_size: int) -> int:
    """Return the number of epochs (at least 1) whose steps come nearest to ``steps``.

    >>> epochs_for_steps(600, 424, 32), epochs_for_steps(600, 40_000, 32)
    (46, 1)
    """
    return max(1, round(steps / steps_per_epoch(rows, batch_size)))

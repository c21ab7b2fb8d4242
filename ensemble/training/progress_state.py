"""Step 7 of training: how far a fold is; save it in the checkpoint and restore it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ensemble.core.errors import EnsError
from ensemble.training.checkpoint import save_checkpoint
from ensemble.training.determinism import random_states, restore_random_states
from ensemble.training.trainer import Trainer

Row = dict[str, Any]  # of the history: values by name of the column

MOST_SECONDS = 120.0  # of training that are lost if the process is killed
SHARE_OF_TIME = 0.02  # most of it that checkpoints after epochs take
SHARED = ("network", "average", "optimiser")  # parts of a Trainer in the checkpoint that are equal in all processes


@dataclass
class FoldState:
    """Progress of a fold; the checkpoint holds it together with weights, EMA, optimiser and random states.

    Attributes:
        epoch: number of finished epochs.
        step: number of finished steps of the current epoch.
        loss_sum: sum of the losses of these steps.
        seconds: duration of these steps.
        best: validation mIoU, epoch and EMA weights of the best epoch; None unless the best epoch is kept.
        history: rows of the finished epochs.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: Tensor = field(default_factory=lambda: torch.zeros(()))
    seconds: float = 0.0
    best: dict[str, Any] | None = None
    history: list[Row] = field(default_factory=list[Row])


class Checkpoints:
    """Write the checkpoint of a fold: after an epoch if that takes little of the time, and else when it is late.

    Args:
        trainer: the trainer of the fold.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer, self._saved, self._took = trainer, time.perf_counter(), 0.0

    @property
    def late(self) -> bool:
        """Whether more would be lost than ``MOST_SECONDS``."""
        return self._seconds > MOST_SECONDS

    @property
    def cheap(self) -> bool:
        """Whether a checkpoint that takes as long as the last one would take at most ``SHARE_OF_TIME`` of the time."""
        return self._took <= SHARE_OF_TIME * self._seconds

    @property
    def _seconds(self) -> float:
        return time.perf_counter() - self._saved

    def save(self, fold_state: FoldState) -> None:
        """Write the checkpoint."""
        start = time.perf_counter()
        save_fold_state(self._trainer, fold_state)
        self._saved = time.perf_counter()
        self._took = self._saved - start


def save_fold_state(trainer: Trainer, fold_state: FoldState) -> None:
    """Write the checkpoint of a fold, with the random states of all processes; the main process writes it."""
    job = trainer.job
    parts = {name: getattr(trainer, name).state_dict() for name in SHARED}
    mine, *others = job.processes.gather(
        dict[str, Any](loss=trainer.loss.state_dict(), random=random_states(job.settings.device))
    )
    state = vars(fold_state) | parts | mine | ({"others": others} if others else {})
    job.processes.run_on_main(lambda: save_checkpoint(job.checkpoint, state))


def restore_fold_state(trainer: Trainer, state: dict[str, Any] | None) -> FoldState:
    """Restore the trainer from the content of a checkpoint and return the progress; None is the start of training.

    Raises:
        EnsError: the checkpoint belongs to another member.
    """
    if state is None:
        return FoldState()
    rank = trainer.job.processes.rank
    try:
        others = state.pop("others", [])
        own = state | (others[rank - 1] if rank else {})  # the loss and the random states differ between processes
        for name in (*SHARED, "loss"):
            if name in own:  # the first versions did not store the state of the loss
                getattr(trainer, name).load_state_dict(own.pop(name))
        if "random" in own:
            restore_random_states(own.pop("random"), trainer.job.settings.device)
        fold_state = FoldState(**own)
        return replace(fold_state, loss_sum=fold_state.loss_sum.cpu())
    except (IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0][:120]
        raise EnsError(
            f"{trainer.job.checkpoint} does not fit this member ({reason}); delete it and repeat the command to train"
            " this fold again"
        ) from None

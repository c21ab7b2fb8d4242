"""How far a fold is, and how that is kept in its checkpoint and found again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ensemble.core.errors import EnsError
from ensemble.training.checkpoint import save_checkpoint
from ensemble.training.determinism import random_states, restore_random_states
from ensemble.training.trainer import Trainer

State = dict[str, Any]

SHARED = ("network", "average", "optimiser")  # parts of a Trainer that a checkpoint holds, the same in all processes


@dataclass
class FoldState:
    """How far a fold is: what a checkpoint holds beside weights, EMA, optimiser and random states."""

    epoch: int = 0  # finished ones
    step: int = 0  # finished ones of the epoch that follows, and the sum of their losses and their seconds
    loss_sum: Tensor = field(default_factory=lambda: torch.zeros(()))
    seconds: float = 0.0
    best: State | None = None
    history: list[State] = field(default_factory=list[State])


def save_fold_state(trainer: Trainer, fold_state: FoldState) -> None:
    """Write all that a fold goes on from, of every process, into its checkpoint."""
    job = trainer.job
    parts = {name: getattr(trainer, name).state_dict() for name in SHARED}
    mine, *others = job.processes.gather(
        State(loss=trainer.loss.state_dict(), random=random_states(job.settings.device))
    )
    state = vars(fold_state) | parts | mine | ({"others": others} if others else {})
    job.processes.run_on_main(lambda: save_checkpoint(job.checkpoint, state))


def restore_fold_state(trainer: Trainer, state: State | None) -> FoldState:
    """Put the trainer back where the checkpoint was written; without one this is the start."""
    if state is None:
        return FoldState()
    rank = trainer.job.processes.rank
    try:
        others = state.pop("others", [])
        own = state | (others[rank - 1] if rank else {})  # each process has its own loss and random states
        for name in (*SHARED, "loss"):
            if name in own:  # the state of the loss was not kept at first
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

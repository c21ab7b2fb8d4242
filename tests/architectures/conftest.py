"""Shared by the tests that hold a module against an independent implementation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn


def transplant_weights(source: nn.Module, target: nn.Module) -> None:
    """Random weights and batch statistics for ``source``; the same, in the order of the state dict, for ``target``."""
    theirs, own = source.eval().state_dict(), target.eval().state_dict()
    generator = torch.Generator().manual_seed(5)
    for (key, value), copy in zip(theirs.items(), own.values(), strict=True):
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5, generator=generator)
        elif value.is_floating_point():
            value.normal_(std=0.3, generator=generator)
        copy.copy_(value.reshape(copy.shape))


@pytest.fixture
def transplant() -> Callable[[nn.Module, nn.Module], None]:
    """``transplant(source, target)`` gives two modules of the same layout the same random weights: see above."""
    return transplant_weights

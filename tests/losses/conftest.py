"""A small batch with void, and every loss that the contract tests visit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ensemble.core.void import VOID
from ensemble.losses import LOSSES

COUNTS = (500, 300, 150, 50)
EXPRESSIONS = (*LOSSES, "0.5*dice + 2*focal + weighted-ce")


@pytest.fixture(params=EXPRESSIONS)
def expression(request: pytest.FixtureRequest) -> str:
    """Each registered loss, and a sum."""
    return request.param


@pytest.fixture
def counts() -> Tensor:
    """Labelled pixels of four classes; class 3 is the rare one."""
    return torch.tensor(COUNTS)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    """Logits (3, 4, 5, 6) and labels with all four classes and about a quarter void."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 5, 6, generator=generator)
    labels = torch.randint(0, 4, (3, 5, 6), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.25] = VOID
    assert labels.unique().tolist() == [0, 1, 2, 3, VOID]
    return logits, labels


@pytest.fixture
def labelled(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The labelled pixels of the batch as one row: references without a void rule see no void."""
    logits, labels = batch
    kept = labels != VOID
    return logits.permute(1, 0, 2, 3)[:, kept].reshape(1, 4, 1, -1), labels[kept].view(1, 1, -1)


@pytest.fixture
def one_hot(labelled: tuple[Tensor, Tensor]) -> Tensor:
    """The labels of ``labelled`` as keras wants them, (1, 1, pixels, 4)."""
    return torch.nn.functional.one_hot(labelled[1], 4).float()

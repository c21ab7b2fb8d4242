"""AdamW without torch's compiler: the same numbers, and the compiler is not loaded."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from ensemble.training.adamw import AdamW

STEPS = """
import sys, torch
from ensemble.architectures import ARCHITECTURES
from ensemble.inference.network import _NoRandomNumbers
from ensemble.training.adamw import AdamW
with torch.device("meta"), _NoRandomNumbers():
    ARCHITECTURES.create("unet", 1, 3, filters=4, depth=2)
network = ARCHITECTURES.create("unet", 1, 3, filters=4, depth=2)
optimiser = AdamW(network.parameters(), fused=True)
network(torch.rand(2, 1, 16, 16)).sum().backward()
optimiser.step()
optimiser.zero_grad(set_to_none=True)
optimiser.load_state_dict(optimiser.state_dict())
print("torch._dynamo" in sys.modules)
"""


def trained(kind: type[torch.optim.AdamW], **options: Any) -> list[torch.Tensor]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3))
    groups: list[dict[str, Any]] = [
        {"params": network[0].parameters(), "weight_decay": 0.1},
        {"params": network[2].parameters(), "weight_decay": 0.0},
    ]
    optimiser = kind(groups, lr=1e-2, **options)
    for step in range(6):
        optimiser.param_groups[0]["lr"] = 1e-2 / (step + 1)
        optimiser.zero_grad(set_to_none=True)
        network(torch.rand(4, 7)).square().sum().backward()
        optimiser.step()
        if step == 3:  # interrupted and resumed
            state = optimiser.state_dict()
            optimiser = kind(groups, lr=1.0, **options)
            optimiser.load_state_dict(state)
    return [*network.parameters(), *(state["exp_avg_sq"] for state in optimiser.state.values())]


@pytest.mark.parametrize("options", [{}, {"fused": True}])
def test_the_bits_are_those_of_torch(options: dict[str, Any]) -> None:
    for own, reference in zip(trained(AdamW, **options), trained(torch.optim.AdamW, **options), strict=True):
        assert torch.equal(own, reference)


def test_weights_keep_no_gradient_of_the_step() -> None:
    weight = nn.Parameter(torch.ones(3))
    optimiser = AdamW([weight], lr=0.1)
    weight.sum().backward()
    optimiser.step()
    assert weight.requires_grad
    assert weight.grad_fn is None


def test_the_compiler_is_not_loaded() -> None:
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

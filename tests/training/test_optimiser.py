"""Optimisers: the numbers of torch without its compiler, and Muon for hidden kernels."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, Literal
from unittest import mock

import pytest
import torch
from torch import nn

from ensemble.config import Component, MemberSettings, OptimiserSettings
from ensemble.core.errors import EnsError
from ensemble.training.encoder import parameter_groups
from ensemble.training.optimiser import (
    AdamW,
    Muon,
    MuonAndAdamW,
    as_matrix,
    choose_optimiser,
    hidden_kernels,
    make_optimiser,
)
from ensemble.training.orthogonal import orthogonal

STEPS = """
import sys, torch
from ensemble.architectures import ARCHITECTURES
from ensemble.inference.network import without_numbers
from ensemble.training.optimiser import AdamW, Muon
with without_numbers():
    ARCHITECTURES.create("unet", 1, 3, filters=4, depth=2)
network = ARCHITECTURES.create("unet", 1, 3, filters=4, depth=2)
network(torch.rand(2, 1, 16, 16)).sum().backward()
matrix = torch.nn.Parameter(torch.rand(16, 16))
matrix.grad = torch.rand(16, 16)
muon = Muon([{"params": [matrix]}], lr=0.1, dtype=torch.float32)
for optimiser in (AdamW(network.parameters(), fused=True), muon):
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


# ---------------------------------------------------------------- Muon


def settings(precision: Literal["fp32", "bf16"] = "bf16", **optimiser: Any) -> MemberSettings:
    chosen: dict[str, Any] = {"name": "muon", **optimiser}
    parts: dict[str, Any] = {"architecture": Component(name="unet"), "loss": Component(name="ce")}
    return MemberSettings(**parts, precision=precision, optimiser=OptimiserSettings(**chosen))


def network(classes: int = 20) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 24, 3), nn.Conv2d(24, 24, 3, groups=24)]
    return nn.Sequential(*layers, nn.Conv2d(24, classes, 1)).to(memory_format=torch.channels_last)


def one_step(network: nn.Module, optimiser: AdamW | MuonAndAdamW) -> dict[str, torch.Tensor]:
    optimiser.zero_grad()
    images = torch.rand(8, 3, 10, 10, generator=torch.Generator().manual_seed(1))
    (network(images) - images.mean(1, keepdim=True)[..., 6:, 6:]).square().sum().backward()
    optimiser.step()
    return {name: p.detach().clone() for name, p in network.named_parameters()}


def test_muon_takes_kernels_between_the_first_and_the_last_layer() -> None:
    found = hidden_kernels(network())
    assert [p.shape for p in found] == [(24, 16, 3, 3)]  # not the depthwise one, whose matrix has 9 columns


def test_muon_moves_them_and_adamw_all_else() -> None:
    chosen = settings(lr=0.01, weight_decay=0.1)
    plain, other = network(), network()
    kernel = other.get_parameter("2.weight")
    before = as_matrix(kernel.detach()).clone()
    by_adamw = one_step(plain, AdamW(parameter_groups(plain, chosen), lr=0.01, fused=True))
    by_both = one_step(other, make_optimiser(other, chosen))
    for name, expected in by_adamw.items():
        assert torch.equal(by_both[name], expected) == (name != "2.weight")
    assert kernel.grad is not None
    matrix = nn.Parameter(before.clone())
    matrix.grad = as_matrix(kernel.grad)
    torch.optim.Muon([matrix], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw").step()
    size = 0.2 * 0.01 * max(before.shape) ** 0.5
    ours, torchs = ((0.999 * before - after.detach()) / size for after in (as_matrix(kernel), matrix))
    assert torch.linalg.matrix_norm(ours - torchs, 2) < 0.3  # both round to bf16
    left, _, right = torch.linalg.svd(0.05 * (1 + 0.95) * as_matrix(kernel.grad), full_matrices=False)
    assert torch.linalg.matrix_norm(ours - left @ right, 2) < 0.6  # its iteration leaves singular values of 0.5 to 1.5


def test_its_state_survives() -> None:
    whole, parted = network(), network()
    optimiser = make_optimiser(whole, settings())
    expected = [one_step(whole, optimiser) for _ in range(4)]
    first = make_optimiser(parted, settings())
    found = [one_step(parted, first) for _ in range(2)]
    second = make_optimiser(parted, settings(lr=1.0))
    second.load_state_dict(first.state_dict())
    found += [one_step(parted, second) for _ in range(2)]
    for own, reference in zip(found, expected, strict=True):
        assert all(torch.equal(own[name], reference[name]) for name in reference)


def test_many_matrices_move_in_batches_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ensemble.training.optimiser.AT_ONCE", 1000)
    shapes = [(16, 30), (30, 16), (16, 16), (20, 20), (16, 100), (20, 30)]
    several = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    before = [matrix.detach().clone() for matrix in several]
    for matrix in several:
        matrix.grad = torch.randn(matrix.shape)
    muon = Muon([{"params": several}], lr=0.1, dtype=torch.float32)
    with mock.patch("ensemble.training.optimiser.orthogonal", side_effect=orthogonal) as called:
        muon.step()
    sizes = [[tuple(matrix.shape) for matrix in call.args[0]] for call in called.call_args_list]
    assert sizes == [[(16, 30), (30, 16)], [(16, 16)], [(20, 20), (20, 30)], [(16, 100)]]
    for matrix, old in zip(several, before, strict=True):
        assert matrix.grad is not None
        (update,) = orthogonal([0.0975 * matrix.grad], torch.float32)
        torch.testing.assert_close(matrix, old - 0.02 * max(old.shape) ** 0.5 * update)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_its_products_have_the_precision_of_the_member(precision: Any, dtype: torch.dtype) -> None:
    optimiser = make_optimiser(network(), settings(precision))
    with mock.patch("ensemble.training.optimiser.orthogonal", side_effect=orthogonal) as called:
        one_step(network(), optimiser)  # of other parameters, so that there are no gradients
        assert not called.called
        taught = network()
        one_step(taught, make_optimiser(taught, settings(precision)))
    assert [call.args[1] for call in called.call_args_list] == [dtype]


def test_muon_suits_networks_from_random_weights_with_hidden_kernels() -> None:
    small = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 2, 1))
    assert hidden_kernels(small) == []
    assert choose_optimiser(None, hidden=True, pretrained=False) == "muon"
    assert choose_optimiser(None, hidden=True, pretrained=True) == "adamw"
    assert choose_optimiser(None, hidden=False, pretrained=False) == "adamw"
    assert choose_optimiser("adamw", hidden=True, pretrained=False) == "adamw"
    assert choose_optimiser("muon", hidden=True, pretrained=True) == "muon"
    expected = (
        "expected a network with hidden layers of at least 16 channels for the optimiser muon, .*the optimiser adamw"
    )
    with pytest.raises(EnsError, match=expected):
        choose_optimiser("muon", hidden=False, pretrained=False)


def test_where_all_hidden_kernels_are_frozen_the_rest_has_adamw() -> None:
    partly = network()
    partly.get_parameter("2.weight").requires_grad_(False)
    assert isinstance(make_optimiser(partly, settings()), AdamW)

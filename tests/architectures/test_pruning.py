"""Removal of unused sub-modules."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ensemble.architectures.pruning import prune_unused


class Wasteful(nn.Module):
    """Dead layers, a chain whose result is thrown away, a weight read without a call; look-alikes that must stay."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Conv2d(1, 2, 1)
        self.dead = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))
        self.layers = nn.ModuleList([nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)])
        self.read = nn.Conv2d(2, 2, 1, bias=False)
        self.wider, self.widest = nn.Conv2d(2, 3, 1), nn.Conv2d(3, 4, 1)
        self.detached = nn.Sequential(nn.Conv2d(2, 2, 1))
        self.frozen = nn.Conv2d(2, 2, 1).requires_grad_(False)
        self.norm = nn.BatchNorm2d(2)
        self.drop = nn.Dropout(0.5)

    def forward(self, images_nchw: Tensor) -> Tensor:
        maps_nchw = self.layers[1](self.used(images_nchw))
        self.widest(self.wider(maps_nchw))
        maps_nchw = maps_nchw + self.detached(maps_nchw).detach()
        return self.drop(self.norm(F.conv2d(maps_nchw, self.read.weight)))


GONE = ["dead", "layers.0", "wider", "widest"]


def test_only_dead_modules_go_and_nothing_else_changes() -> None:
    network, probe_nchw = Wasteful(), torch.rand(1, 1, 4, 4)
    network.norm.eval()
    before_nchw = network.eval()(probe_nchw)
    network.train()
    network.norm.eval()
    state, random_state = dict(network.norm.state_dict()), torch.get_rng_state()
    assert prune_unused(network, probe_nchw) == GONE
    assert torch.equal(torch.get_rng_state(), random_state)
    assert network.training
    assert network.used.training
    assert not network.norm.training
    assert all(torch.equal(value, network.norm.state_dict()[key]) for key, value in state.items())
    assert not any(p.grad is not None for p in network.parameters())
    assert torch.equal(network.eval()(probe_nchw), before_nchw)
    assert len(network.layers) == 2


def test_attention_that_reads_a_child_without_calling_it_survives() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.attend(tokens, tokens, tokens)[0]

    network = Attention()
    assert prune_unused(network, torch.rand(1, 3, 4)) == []


def test_works_where_gradients_are_off() -> None:
    with torch.no_grad():
        assert prune_unused(Wasteful(), torch.rand(1, 1, 4, 4)) == GONE


def test_modes_come_back_after_an_error() -> None:
    network = Wasteful().train()
    with pytest.raises(RuntimeError, match="channels"):
        prune_unused(network, torch.rand(1, 3, 4, 4))
    assert network.training

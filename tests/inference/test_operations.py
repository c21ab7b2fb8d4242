"""Operations of every network: as torch's counter counts them, but without its compiler."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ensemble.architectures import ARCHITECTURES
from ensemble.inference.operations import gflops
from ensemble.testing.architectures import built, forget_networks, images


@pytest.fixture(scope="module", autouse=True)
def _forget_the_networks() -> Iterator[None]:
    yield
    forget_networks()


def test_operations_of_one_convolution_are_counted_by_hand() -> None:
    conv = nn.Conv2d(3, 8, 5, padding=2)
    assert gflops(conv, torch.zeros(1, 3, 32, 48)) == pytest.approx(2 * 3 * 8 * 25 * 32 * 48 / 1e9)


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_the_operations_of_every_architecture_are_those_of_torchs_counter(name: str) -> None:
    network, image_1chw = built(name).eval(), images(1, 1, 64, 96)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image_1chw)
    assert gflops(network, image_1chw) == counter.get_total_flops() / 1e9 > 0


def test_products_and_attention_are_counted_too() -> None:
    layer, tokens = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).train(), torch.zeros(1, 10, 16)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        layer(tokens)
    projections, attention, perceptron = 4 * 10 * 16 * 16, 2 * 10 * 10 * 16, 2 * 10 * 16 * 32
    assert counter.get_total_flops() == 2 * (projections + attention + perceptron)
    assert gflops(layer, tokens) == counter.get_total_flops() / 1e9


def test_counting_does_not_load_torchs_compiler() -> None:
    program = """
import sys, torch
from ensemble.inference.operations import gflops
assert gflops(torch.nn.Conv2d(1, 8, 3), torch.zeros(1, 1, 16, 16)) > 0
assert "torch.utils.flop_counter" in sys.modules
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)

"""Layers that are fast in training compute what torch's compute, and nothing else changes."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ensemble.training.cpu_layers import FEW_CHANNELS, SMALL_SIDE, use_fast_layers

DEPTHWISE = {
    "5x5": nn.Conv2d(8, 8, 5, padding=2, groups=8),
    "stride 2": nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=8, bias=False),
}
LAYERS = DEPTHWISE | {"group norm": nn.GroupNorm(4, 8), "instance norm": nn.GroupNorm(8, 8)}
KEPT = {
    "3x3": nn.Conv2d(8, 8, 3, padding=1, groups=8),
    "grouped": nn.Conv2d(8, 8, 5, padding=2, groups=2),
    "one channel": nn.Conv2d(1, 8, 5, padding=2),
    "batch norm": nn.BatchNorm2d(8),
}


def run(layer: nn.Module, maps_nchw: Tensor, *, bf16: bool) -> list[Tensor]:
    """Return the output and all gradients."""
    maps_nchw = maps_nchw.clone(memory_format=torch.preserve_format).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        output = layer(maps_nchw)
    pattern = torch.randn(output.shape, generator=torch.Generator().manual_seed(7))
    (output.float() * pattern).sum().backward()
    return [output.detach(), *(tensor.grad for tensor in (maps_nchw, *layer.parameters()) if tensor.grad is not None)]


@pytest.mark.parametrize("name", LAYERS)
def test_outputs_and_gradients_are_those_of_the_layer(name: str) -> None:
    torch.manual_seed(0)
    layer = deepcopy(LAYERS[name]).to(memory_format=torch.channels_last)
    fast = use_fast_layers(nn.Sequential(deepcopy(layer)))
    assert type(next(fast.children())) is not type(layer)
    maps_nchw = torch.randn(3, 8, 9, 7).contiguous(memory_format=torch.channels_last)
    for usual, ours in zip(run(layer, maps_nchw, bf16=False), run(fast, maps_nchw, bf16=False), strict=True):
        torch.testing.assert_close(ours, usual)
    exact = run(layer, maps_nchw.bfloat16().float(), bf16=False)
    for ours, wanted in zip(run(fast, maps_nchw.bfloat16(), bf16=True), exact, strict=True):
        torch.testing.assert_close(ours.float(), wanted, rtol=2**-6, atol=2**-6 * wanted.abs().max().item())


@pytest.mark.parametrize("name", LAYERS)
def test_type_layout_names_and_predictions_stay(name: str) -> None:
    layer = deepcopy(LAYERS[name])
    fast = use_fast_layers(deepcopy(layer))
    maps_nchw = torch.randn(2, 8, 8, 8).bfloat16().contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert fast(maps_nchw).dtype == torch.bfloat16
        assert fast(maps_nchw).is_contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            assert torch.equal(fast(maps_nchw), layer(maps_nchw))
    assert list(fast.state_dict()) == list(layer.state_dict())
    again = deepcopy(use_fast_layers(fast))
    assert type(again) is type(fast)
    assert isinstance(again, type(layer))


@pytest.mark.parametrize("name", LAYERS)
def test_a_frozen_layer_computes_as_in_predictions(name: str) -> None:
    layer = deepcopy(LAYERS[name]).requires_grad_(False)
    fast = use_fast_layers(deepcopy(layer))
    maps_nchw = torch.randn(2, 8, 8, 8).bfloat16().contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(fast(maps_nchw), layer(maps_nchw))


@pytest.mark.parametrize("name", KEPT)
def test_other_layers_are_left_alone(name: str) -> None:
    assert type(use_fast_layers(deepcopy(KEPT[name]))) is type(KEPT[name])


UPSAMPLINGS: tuple[dict[str, Any], ...] = (
    {"scale_factor": 8.0, "align_corners": True},  # the heads of smp
    {"scale_factor": 2.0, "align_corners": False},
    {"scale_factor": (3.0, 1.5)},
    {"size": (19, 5), "align_corners": True},
    {"size": 16},
)


@pytest.mark.parametrize("options", UPSAMPLINGS, ids=str)
@pytest.mark.parametrize("sides", [(9, 7), (1, 6)], ids=str)
def test_upsampling_of_few_channels_as_products(options: dict[str, Any], sides: tuple[int, int]) -> None:
    layer = nn.Upsample(mode="bilinear", **options)
    fast = use_fast_layers(nn.Sequential(deepcopy(layer)))
    maps_nchw = torch.randn(3, 5, *sides).contiguous(memory_format=torch.channels_last)
    for usual, ours in zip(run(layer, maps_nchw, bf16=False), run(fast, maps_nchw, bf16=False), strict=True):
        torch.testing.assert_close(ours, usual)
    rough_nchw = maps_nchw.bfloat16()
    exact, *_ = run(layer, rough_nchw.float(), bf16=False)
    output, gradient = run(fast, rough_nchw, bf16=True)
    torch.testing.assert_close(output, exact)  # in float32, so that the loss need not convert it
    assert gradient.dtype == torch.bfloat16
    with torch.no_grad():
        assert torch.equal(fast(rough_nchw), layer(rough_nchw))


@pytest.mark.parametrize("shape", [(2, FEW_CHANNELS, 4, 4), (1, 1, SMALL_SIDE + 1, 4)], ids=["channels", "large"])
def test_other_upsampling_is_left_to_torch(shape: tuple[int, ...]) -> None:
    layer = nn.Upsample(scale_factor=2, mode="bilinear")
    maps_nchw = torch.randn(shape).bfloat16().requires_grad_()
    assert torch.equal(use_fast_layers(deepcopy(layer))(maps_nchw), layer(maps_nchw))
    for other in (nn.Upsample(scale_factor=2), nn.Upsample(None, 2.7, "bilinear", recompute_scale_factor=True)):
        assert type(use_fast_layers(other)) is nn.Upsample

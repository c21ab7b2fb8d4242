"""The U-Net's parts and every combination of their kinds."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from ensemble.architectures.attention import SKIP_ATTENTIONS, AttentionGate
from ensemble.architectures.blocks import BLOCKS, BOTTLENECKS, UPS, ResidualBlock, init_he
from ensemble.architectures.unet import MAX_DEPTH, UNet, unet
from ensemble.architectures.unet_family import attention_unet, plain_unet, residual_unet, se_unet, unet_baseline
from ensemble.errors import EnsError, UnknownName


@pytest.mark.parametrize(
    ("block", "attention", "bottleneck", "up"), list(itertools.product(BLOCKS, SKIP_ATTENTIONS, BOTTLENECKS, UPS))
)
def test_every_combination_runs(block: str, attention: str, bottleneck: str, up: str) -> None:
    network = unet(2, 3, filters=2, depth=2, block=block, attention=attention, bottleneck=bottleneck, up=up)
    assert network(torch.rand(2, 2, 35, 38)).shape == (2, 3, 35, 38)


@pytest.mark.parametrize("depth", range(1, MAX_DEPTH + 1))
def test_every_depth_trains_on_the_smallest_images(depth: int) -> None:
    network = unet(1, 2, filters=2, depth=depth)
    network(torch.rand(2, 1, 32, 33)).sum().backward()


@pytest.mark.parametrize("option", ["block", "attention", "bottleneck", "up"])
def test_unknown_kind_is_named(option: str) -> None:
    kinds: dict[str, Any] = {option: "plian"}
    with pytest.raises(UnknownName, match=f"unknown {option} of the U-Net 'plian'"):
        unet(1, 2, **kinds)


def test_depth_beyond_the_smallest_image_is_refused() -> None:
    with pytest.raises(EnsError, match="expected depth to be a whole number from 1 to 5, got 6"):
        UNet(1, 2, depth=6)


def test_widths_double_and_sizes_halve() -> None:
    network = UNet(1, 4, filters=3, depth=3)
    shapes: dict[str, tuple[int, ...]] = {}

    def note(module: nn.Module, _: object, output: torch.Tensor) -> None:
        shapes[names[module]] = tuple(output.shape[1:])

    names = {module: name for name, module in network.named_modules()}
    for module in [*network.encoder, network.bottleneck, *network.decoder]:
        module.register_forward_hook(note)
    network(torch.rand(1, 1, 32, 64))
    assert shapes["encoder.0"] == shapes["decoder.0"] == (3, 32, 64)
    assert shapes["encoder.2"] == shapes["decoder.2"] == (12, 8, 16)
    assert shapes["bottleneck"] == (24, 4, 8)


def test_presets_differ_where_their_names_say() -> None:
    def count(network: nn.Module, kind: type[nn.Module]) -> int:
        return sum(isinstance(module, kind) for module in network.modules())

    assert count(attention_unet(1, 2, filters=4, depth=3), AttentionGate) == 3
    assert count(residual_unet(1, 2, filters=4, depth=3), ResidualBlock) == 1
    plain = plain_unet(1, 2, filters=4, depth=3)
    assert count(plain, AttentionGate) == count(plain, ResidualBlock) == 0
    with_se = se_unet(1, 2, filters=4, depth=3)
    extra = sum(p.numel() for p in with_se.parameters()) - sum(p.numel() for p in plain.parameters())
    assert extra == 32 * 8 + 8 + 8 * 32 + 32  # both layers of SE on 4 * 2**3 channels
    assert sum(p.numel() for p in unet_baseline(1, 5).parameters()) < 150_000


def test_convolutions_before_a_norm_have_no_bias() -> None:
    network = unet(1, 5, filters=2, block="residual", attention="gate", bottleneck="residual", up="bilinear")
    biased = [name for name, m in network.named_modules() if isinstance(m, nn.Conv2d) and m.bias is not None]
    assert biased == ["network.head"]


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    network = plain_unet(1, 2, filters=4, depth=2, dropout=0.5)
    dropouts = [module for module in network.modules() if isinstance(module, nn.Dropout2d)]
    assert [module.p for module in dropouts] == [0.5]
    images_nchw = torch.rand(2, 1, 32, 32)
    assert not torch.equal(network(images_nchw), network(images_nchw))
    network.eval()
    assert torch.equal(network(images_nchw), network(images_nchw))


def test_residual_block_adds_its_input() -> None:
    block = ResidualBlock(3, 3).eval()
    nn.init.zeros_(block.body[2][0].weight)  # type: ignore[index, arg-type]
    maps_nchw = torch.randn(1, 3, 5, 5)
    torch.testing.assert_close(block(maps_nchw), maps_nchw.relu())
    assert isinstance(ResidualBlock(3, 4).shortcut, nn.Sequential)


@pytest.mark.parametrize(
    ("module", "gain"), [(nn.Conv2d(32, 64, 3), 2.0), (nn.ConvTranspose2d(256, 128, 2, stride=2, bias=False), 1.0)]
)
def test_initial_weights_keep_the_variance(module: nn.Conv2d | nn.ConvTranspose2d, gain: float) -> None:
    torch.manual_seed(0)
    init_he(module)
    maps_nchw = torch.randn(4, module.in_channels, 16, 16)
    assert module(maps_nchw).var().item() == pytest.approx(gain, rel=0.1)
    assert module.bias is None or module.bias.abs().max() == 0

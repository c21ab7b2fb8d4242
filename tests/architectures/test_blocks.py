"""Norms, blocks and up-sampling against torch, torchvision, timm and MONAI; initial weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast, get_args

import pytest
import torch
from torch import nn

from ensemble.architectures.blocks import BLOCKS, Block, ConvNeXtBlock, ResidualBlock, se_residual_block
from ensemble.architectures.norms import NORMS, Norm, conv_norm, conv_norm_relu, group_norm, instance_norm
from ensemble.architectures.upsampling import UPS, PixelShuffleUp, Up, init_he, transposed_up

Transplant = Callable[[nn.Module, nn.Module], None]


def test_every_kind_has_its_name_in_the_option_type() -> None:
    assert set(get_args(Block)) == set(BLOCKS)
    assert set(get_args(Norm)) == set(NORMS)
    assert set(get_args(Up)) == set(UPS)


# ---------------------------------------------------------------- norms


def test_group_norm_standardises_groups_of_channels() -> None:
    maps_nchw = torch.randn(2, 16, 3, 5) * 3 + 1
    normed = group_norm(16)(maps_nchw).unflatten(1, (8, 2))
    grouped = maps_nchw.unflatten(1, (8, 2))
    var, mean = torch.var_mean(grouped, dim=(2, 3, 4), keepdim=True, correction=0)
    torch.testing.assert_close(normed, (grouped - mean) / (var + 1e-5).sqrt())
    assert [group_norm(channels).num_groups for channels in (1, 3, 6, 20, 256)] == [1, 1, 2, 4, 8]


def test_instance_norm_equals_torchs_and_takes_one_pixel() -> None:
    maps_nchw = torch.randn(2, 6, 3, 5)
    torch.testing.assert_close(instance_norm(6)(maps_nchw), nn.InstanceNorm2d(6, affine=True)(maps_nchw))
    assert instance_norm(6).train()(torch.randn(2, 6, 1, 1)).isfinite().all()


@pytest.mark.parametrize("norm", NORMS)
def test_convolution_has_a_bias_only_without_a_norm(norm: Norm) -> None:
    conv, following = conv_norm(2, 4, norm=norm, dilation=3)
    assert isinstance(conv, nn.Conv2d)
    assert (conv.bias is not None) == (norm == "none") == isinstance(following, nn.Identity)
    maps_nchw = torch.randn(2, 2, 5, 7)
    assert conv(maps_nchw).shape == (2, 4, 5, 7)
    assert conv_norm_relu(2, 4, norm=norm)(maps_nchw).min() == 0


# ---------------------------------------------------------------- blocks


@pytest.mark.parametrize("channels", [6, 4])
def test_residual_block_equals_torchvision(channels: int, transplant: Transplant) -> None:
    from torchvision.models.resnet import BasicBlock

    downsample = None if channels == 4 else nn.Sequential(nn.Conv2d(4, 6, 1, bias=False), nn.BatchNorm2d(6))
    reference, block = BasicBlock(4, channels, downsample=downsample), ResidualBlock(4, channels)
    transplant(reference, block)
    maps_nchw = torch.randn(2, 4, 5, 6)
    torch.testing.assert_close(block(maps_nchw), reference(maps_nchw))


def test_se_residual_block_equals_timm(transplant: Transplant) -> None:
    from timm.layers import SEModule
    from timm.models.resnet import BasicBlock

    downsample = nn.Sequential(nn.Conv2d(4, 16, 1, bias=False), nn.BatchNorm2d(16))
    reference = BasicBlock(4, 16, downsample=downsample, attn_layer=SEModule)
    block = se_residual_block(4, 16)
    transplant(reference, block)
    maps_nchw = torch.randn(2, 4, 5, 6)
    torch.testing.assert_close(block(maps_nchw), reference(maps_nchw))


def test_convnext_block_equals_torchvision(transplant: Transplant) -> None:
    from torchvision.models.convnext import CNBlock

    reference, block = CNBlock(6, layer_scale=1.0, stochastic_depth_prob=0.0), ConvNeXtBlock(6, 6)
    transplant(reference, block)
    maps_nchw = torch.randn(2, 6, 9, 8)
    torch.testing.assert_close(block(maps_nchw), reference(maps_nchw))


def test_convnext_block_projects_and_starts_near_the_identity() -> None:
    block, maps_nchw = ConvNeXtBlock(3, 6), torch.randn(2, 3, 9, 8)
    change_nchw = block(maps_nchw) - block.project(maps_nchw)
    assert 0 < change_nchw.abs().max() < 0.5
    nn.init.zeros_(block.scale)
    assert torch.equal(block(maps_nchw), block.project(maps_nchw))
    assert isinstance(ConvNeXtBlock(6, 6).project, nn.Identity)


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("norm", NORMS)
def test_blocks_keep_size_type_and_memory_format(name: str, norm: Norm) -> None:
    block = BLOCKS[name](2, 4, norm).to(memory_format=torch.channels_last)
    maps_nchw = torch.randn(2, 2, 6, 5, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        out_nchw = block(maps_nchw)
    assert out_nchw.shape == (2, 4, 6, 5)
    assert out_nchw.dtype == torch.bfloat16
    assert out_nchw.is_contiguous(memory_format=torch.channels_last)


# ---------------------------------------------------------------- up-sampling


@pytest.mark.parametrize("name", UPS)
def test_ups_double_the_size(name: str) -> None:
    assert UPS[name](6, 3)(torch.randn(2, 6, 4, 5)).shape == (2, 3, 8, 10)


def test_pixel_shuffle_equals_monai(transplant: Transplant) -> None:
    from monai.networks.blocks.upsample import SubpixelUpsample

    reference = SubpixelUpsample(2, 6, 3, apply_pad_pool=False, bias=False)
    up = PixelShuffleUp(6, 3)
    transplant(reference, up)
    maps_nchw = torch.randn(2, 6, 4, 5)
    torch.testing.assert_close(up(maps_nchw), reference(maps_nchw))


def test_pixel_shuffle_starts_without_checkerboard() -> None:
    torch.manual_seed(0)
    up = PixelShuffleUp(6, 3)
    init_he(up)
    out_nchw = up(torch.randn(2, 6, 4, 5))
    nearest = nn.Upsample(scale_factor=2, mode="nearest")(out_nchw[..., ::2, ::2])
    assert torch.equal(out_nchw, nearest)
    assert out_nchw[:, 0].std() > 0
    assert not torch.equal(out_nchw[:, 0], out_nchw[:, 1])


@pytest.mark.parametrize(
    ("module", "gain"), [(nn.Conv2d(32, 64, 3), 2.0), (transposed_up(256, 128), 1.0), (PixelShuffleUp(64, 64), 1.0)]
)
def test_initial_weights_keep_the_variance(module: nn.Module, gain: float) -> None:
    torch.manual_seed(0)
    init_he(module)
    maps_nchw = torch.randn(4, cast(nn.Conv2d, module).in_channels, 16, 16)
    assert module(maps_nchw)[..., 2:-2, 2:-2].var().item() == pytest.approx(gain, rel=0.06)
    bias = cast(nn.Conv2d, module).bias
    assert bias is None or bias.abs().max() == 0

"""Bottlenecks against torchvision, smp and timm; tiny maps; how far each sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast, get_args

import pytest
import torch
from torch import Tensor, nn

from ensemble.architectures.bottlenecks import (
    BOTTLENECKS,
    AtrousPyramid,
    Bottleneck,
    PoolingPyramid,
    TransformerBottleneck,
    se_bottleneck,
)
from ensemble.architectures.norms import NORMS, Norm

Transplant = Callable[[nn.Module, nn.Module], None]


def test_every_kind_has_its_name_in_the_option_type() -> None:
    assert set(get_args(Bottleneck)) == set(BOTTLENECKS)


def test_aspp_equals_torchvision(transplant: Transplant) -> None:
    from torchvision.models.segmentation.deeplabv3 import ASPP

    reference, own = ASPP(6, (1, 2, 4), 5).eval(), AtrousPyramid(6, 5).eval()
    for i, branch in enumerate(own.branches):
        transplant(reference.convs[i], branch)
    # Our mean has a bias and no norm: the same as a norm that has learnt nothing but its shift.
    conv, norm = (cast(Any, reference.convs[4].get_submodule(key)) for key in ("1", "2"))
    own_conv = cast(nn.Conv2d, own.mean[0])
    assert own_conv.bias is not None
    norm.running_var.fill_(1 - norm.eps)
    with torch.no_grad():
        own_conv.weight.copy_(conv.weight)
        norm.bias.copy_(own_conv.bias)
    transplant(reference.project, own.project)
    for maps_nchw in (torch.randn(2, 6, 4, 8), torch.randn(2, 6, 1, 1)):
        torch.testing.assert_close(own(maps_nchw), reference(maps_nchw))


def test_ppm_equals_smp(transplant: Transplant) -> None:
    from segmentation_models_pytorch.decoders.pspnet.decoder import PSPModule

    reference, own = PSPModule(8), PoolingPyramid(8, 5)
    for theirs, branch in zip(reference.blocks, own.branches, strict=True):
        transplant(theirs, branch)
    reference.eval()
    last, own.project = own.project, nn.Sequential()
    for size in ((12, 18), (2, 4), (1, 1)):
        maps_nchw = torch.randn(2, 8, *size)
        expected_nchw = reference(maps_nchw).roll(8, dims=1)  # smp has the maps last, the paper first
        torch.testing.assert_close(own(maps_nchw), expected_nchw)
    assert last(expected_nchw).shape == (2, 5, 1, 1)


def test_transformer_equals_timm() -> None:
    from timm.models.vision_transformer import Block

    torch.manual_seed(0)
    own = TransformerBottleneck(5, 16).eval()
    own.project[1].load_state_dict({"running_mean": torch.randn(16), "running_var": torch.rand(16) + 0.5}, strict=False)
    maps_nchw = torch.randn(2, 5, 3, 4)
    embedded_nchw = own.project(maps_nchw)
    tokens_npc = (embedded_nchw + own.position(embedded_nchw)).flatten(2).transpose(1, 2)
    names = {"norm1": "norm1", "norm2": "norm2", "attn.proj": "self_attn.out_proj", "mlp.fc1": "linear1"}
    for layer in own.layers:
        for value in layer.parameters():  # the layer starts with biases of zero, which would prove little
            nn.init.normal_(value, std=0.2)
        reference = Block(16, 8, mlp_ratio=2, qkv_bias=True, norm_layer=nn.LayerNorm).eval()
        for theirs, ours in (names | {"mlp.fc2": "linear2"}).items():
            reference.get_submodule(theirs).load_state_dict(layer.get_submodule(ours).state_dict())
        attention = cast(nn.MultiheadAttention, layer.get_submodule("self_attn"))
        qkv = {"weight": attention.in_proj_weight, "bias": attention.in_proj_bias}
        reference.get_submodule("attn.qkv").load_state_dict(qkv)
        tokens_npc = reference(tokens_npc)
    expected_nchw = own.norm(tokens_npc).transpose(1, 2).reshape(2, 16, 3, 4)
    torch.testing.assert_close(own(maps_nchw), expected_nchw)
    with torch.no_grad():  # torch has another kernel for evaluation
        torch.testing.assert_close(own(maps_nchw), expected_nchw)


def test_transformer_layers_start_with_different_weights() -> None:
    first, second = TransformerBottleneck(4, 8).layers
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert sum(not torch.equal(a, b) for a, b in pairs) >= 4


@pytest.mark.parametrize("channels", [1, 4, 384])
def test_se_bottleneck_takes_few_channels(channels: int) -> None:
    assert se_bottleneck(2, channels)(torch.rand(2, 2, 4, 4)).shape == (2, channels, 4, 4)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", BOTTLENECKS)
def test_two_images_train_on_tiny_maps(name: str, norm: Norm) -> None:
    for size in ((1, 1), (2, 4)):
        bottleneck = BOTTLENECKS[name](6, 12, norm).to(memory_format=torch.channels_last)
        maps_nchw = torch.randn(2, 6, *size).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            out_nchw = bottleneck(maps_nchw)
        assert out_nchw.shape == (2, 12, *size)
        assert out_nchw.is_contiguous(memory_format=torch.channels_last)
        out_nchw.float().square().mean().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in bottleneck.parameters())


@pytest.mark.parametrize("name", BOTTLENECKS)
def test_only_context_bottlenecks_see_the_whole_image(name: str) -> None:
    torch.manual_seed(0)
    bottleneck = BOTTLENECKS[name](16, 16, "batch").eval()
    maps_nchw = torch.randn(1, 16, 12, 12, requires_grad=True)
    bottleneck(maps_nchw)[0, :, 0, 0].square().sum().backward()
    assert maps_nchw.grad is not None
    reached_hw = maps_nchw.grad[0].abs().sum(0) > 0
    assert bool(reached_hw.all()) == (name in {"se", "se-residual", "aspp", "ppm", "transformer"})
    assert reached_hw[0, 0]


def test_attention_knows_where_a_pixel_is() -> None:
    torch.manual_seed(0)
    bottleneck = TransformerBottleneck(4, 16).eval()

    def corner_and_centre(maps_nchw: Tensor) -> Tensor:
        out_nchw = bottleneck(maps_nchw)
        return (out_nchw[0, :, 0, 0] - out_nchw[0, :, 3, 4]).abs().max()

    flat_nchw = torch.ones(1, 4, 7, 9)
    assert corner_and_centre(flat_nchw) > 0.01
    nn.init.zeros_(bottleneck.position.weight)
    assert corner_and_centre(flat_nchw) < 1e-5

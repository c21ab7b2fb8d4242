"""Attention gate against MONAI's, squeeze-and-excitation against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ensemble.architectures.attention import SKIP_ATTENTIONS, AttentionGate, PassSkip, squeeze_excitation
from ensemble.architectures.blocks import se_bottleneck


def copy_conv_norm(source: nn.Sequential, target: nn.Sequential) -> None:
    """Copy a convolution with bias b and its norm into ours without: BN(c + b) of mean m is BN(c) of mean m - b."""
    conv = next(module for module in source.modules() if isinstance(module, nn.Conv2d))
    norm = next(module for module in source.modules() if isinstance(module, nn.BatchNorm2d))
    own_conv, own_norm = target[0], target[1]
    assert isinstance(own_conv, nn.Conv2d)
    assert isinstance(own_norm, nn.BatchNorm2d)
    own_norm.load_state_dict(norm.state_dict())
    with torch.no_grad():
        own_conv.weight.copy_(conv.weight)
        assert conv.bias is not None
        assert own_norm.running_mean is not None
        own_norm.running_mean -= conv.bias


def randomise_norms(module: nn.Module) -> None:
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)


def test_gate_equals_monai() -> None:
    from monai.networks.nets.attentionunet import AttentionBlock

    torch.manual_seed(0)
    reference = AttentionBlock(spatial_dims=2, f_int=3, f_g=5, f_l=6).eval()
    randomise_norms(reference)
    gate = AttentionGate(skip_channels=6, gating_channels=5).eval()
    for source, target in ((reference.W_x, gate.skip), (reference.W_g, gate.gating), (reference.psi, gate.psi)):
        copy_conv_norm(source, target)
    skip_nchw, gating_nchw = torch.randn(2, 6, 7, 9), torch.randn(2, 5, 7, 9)
    torch.testing.assert_close(gate(skip_nchw, gating_nchw), reference(gating_nchw, skip_nchw))


def test_gate_has_half_the_channels_and_one_map() -> None:
    gate = AttentionGate(8, 16)
    shapes = [tuple(p.shape) for p in gate.parameters() if p.dim() == 4]
    assert shapes == [(4, 8, 1, 1), (4, 16, 1, 1), (1, 4, 1, 1)]
    assert AttentionGate(1, 2)(torch.ones(2, 1, 4, 4), torch.ones(2, 2, 4, 4)).shape == (2, 1, 4, 4)


def test_no_attention_passes_the_skip() -> None:
    skip_nchw = torch.rand(1, 2, 3, 3)
    module = SKIP_ATTENTIONS["none"](2, 2)
    assert isinstance(module, PassSkip)
    assert module(skip_nchw, torch.rand(1, 2, 3, 3)) is skip_nchw


def test_squeeze_excitation_equals_numpy() -> None:
    torch.manual_seed(0)
    module = squeeze_excitation(32, reduction=4)
    first, second = (m for m in module.modules() if isinstance(m, nn.Conv2d))
    maps_nchw = torch.randn(2, 32, 5, 4)

    def array(tensor: Tensor | None) -> np.ndarray:
        assert tensor is not None
        return tensor.detach().double().numpy()

    w1, w2 = array(first.weight)[:, :, 0, 0], array(second.weight)[:, :, 0, 0]
    assert w1.shape == (8, 32)
    hidden = np.maximum(array(maps_nchw).mean((2, 3)) @ w1.T + array(first.bias), 0)
    scale = 1 / (1 + np.exp(-(hidden @ w2.T + array(second.bias))))
    np.testing.assert_allclose(array(module(maps_nchw)), array(maps_nchw) * scale[:, :, None, None], atol=1e-6)


@pytest.mark.parametrize("channels", [1, 4, 384])
def test_se_bottleneck_takes_few_channels(channels: int) -> None:
    assert se_bottleneck(2, channels)(torch.rand(2, 2, 4, 4)).shape == (2, channels, 4, 4)

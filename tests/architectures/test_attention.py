"""Attention on skips against MONAI, smp, SciPy and NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate
from torch import Tensor, nn

from ensemble.architectures.attention import (
    SKIP_ATTENTIONS,
    Attention,
    AttentionGate,
    ConcurrentAttention,
    SpatialChannelGate,
    convolutional_attention,
    efficient_channel,
    squeeze_excitation,
    wide_gate,
)


def array(tensor: Tensor | None) -> Any:
    assert tensor is not None
    return tensor.detach().double().numpy()


def sigmoid(values: Any) -> Any:
    return 1 / (1 + np.exp(-values))


def correlate_maps(maps_nchw: Any, kernel_chw: Any) -> Any:
    """Zero-padded convolution (n, c, h, w) to (n, 1, h, w), as torch means it."""
    one = [sum(correlate(m, k, mode="constant") for m, k in zip(maps, kernel_chw, strict=True)) for maps in maps_nchw]
    return np.stack(one)[:, None]


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


@pytest.mark.parametrize(("skip_channels", "inner"), [(1, 16), (16, 16), (32, 16), (34, 32), (64, 32), (96, 48)])
def test_a_wide_gate_has_a_multiple_of_16_inner_channels(skip_channels: int, inner: int) -> None:
    conv = wide_gate(skip_channels, 8).skip[0]
    assert isinstance(conv, nn.Conv2d)
    assert conv.out_channels == inner


def test_gate_has_half_the_channels_and_one_map() -> None:
    gate = AttentionGate(8, 16)
    shapes = [tuple(p.shape) for p in gate.parameters() if p.dim() == 4]
    assert shapes == [(4, 8, 1, 1), (4, 16, 1, 1), (1, 4, 1, 1)]


def test_spatial_channel_gate_equals_scipy() -> None:
    torch.manual_seed(0)
    gate = SpatialChannelGate(16, 6)
    skip_nchw, gating_nchw = torch.randn(2, 16, 9, 8), torch.randn(2, 6, 9, 8)
    x, g = array(skip_nchw), array(gating_nchw)
    spatial, squeeze, excite = (array(m.weight) for m in (gate.spatial, gate.squeeze, gate.excite))
    assert squeeze.shape == (2, 44, 1, 1)  # 16 / 8 units from the means and maxima of both

    # The paper's form: one convolution of three maps for the skip and one for the decoder, four linear maps.
    def three_maps(maps: Any, weight: Tensor) -> Any:
        return np.stack([maps.max(1), maps.mean(1), np.einsum("nchw,c->nhw", maps, array(weight)[0, :, 0, 0])], 1)

    s = correlate_maps(three_maps(x, gate.skip_map.weight), spatial[0, :3])
    s = s + correlate_maps(three_maps(g, gate.gating_map.weight), spatial[0, 3:]) + array(gate.spatial.bias)
    w1, w2, w3, w4 = np.split(squeeze[:, :, 0, 0], [16, 32, 38], axis=1)
    inner = x.mean((2, 3)) @ w1.T + x.max((2, 3)) @ w2.T + g.mean((2, 3)) @ w3.T + g.max((2, 3)) @ w4.T
    c = inner @ excite[:, :, 0, 0].T + array(gate.excite.bias)
    expected = x * sigmoid(s) * sigmoid(c)[:, :, None, None]
    np.testing.assert_allclose(array(gate(skip_nchw, gating_nchw)), expected, atol=1e-5)


def test_squeeze_excitation_equals_numpy() -> None:
    torch.manual_seed(0)
    module = squeeze_excitation(32, reduction=4)
    first, second = (m for m in module.modules() if isinstance(m, nn.Conv2d))
    maps_nchw = torch.randn(2, 32, 5, 4)
    w1, w2 = array(first.weight)[:, :, 0, 0], array(second.weight)[:, :, 0, 0]
    assert w1.shape == (8, 32)
    hidden = np.maximum(array(maps_nchw).mean((2, 3)) @ w1.T + array(first.bias), 0)
    scale = sigmoid(hidden @ w2.T + array(second.bias))
    np.testing.assert_allclose(array(module(maps_nchw)), array(maps_nchw) * scale[:, :, None, None], atol=1e-6)


@pytest.mark.parametrize(("channels", "taps"), [(2, 3), (16, 3), (128, 5)])
def test_efficient_channel_attention_equals_numpy(channels: int, taps: int) -> None:
    torch.manual_seed(0)
    module, maps_nchw = efficient_channel(channels), torch.randn(2, channels, 5, 4)
    (weight,) = module.parameters()
    kernel = array(weight).ravel()
    assert kernel.size == taps  # odd, about (log2(C) + 1) / 2
    means = array(maps_nchw).mean((2, 3))
    scale = sigmoid(np.stack([correlate(row, kernel, mode="constant") for row in means]))
    np.testing.assert_allclose(array(module(maps_nchw)), array(maps_nchw) * scale[:, :, None, None], atol=1e-6)


def test_concurrent_attention_equals_smp(transplant: Callable[[nn.Module, nn.Module], None]) -> None:
    from segmentation_models_pytorch.base.modules import SCSEModule

    reference, module = SCSEModule(128), ConcurrentAttention(128)
    transplant(reference, module)
    maps_nchw = torch.randn(2, 128, 3, 4)
    torch.testing.assert_close(module(maps_nchw), reference(maps_nchw))


def test_convolutional_attention_equals_scipy() -> None:
    torch.manual_seed(0)
    module, maps_nchw = convolutional_attention(16).eval(), torch.randn(2, 16, 9, 8)
    randomise_norms(module)
    first, second, seven = (m for m in module.modules() if isinstance(m, nn.Conv2d))
    (norm,) = (m for m in module.modules() if isinstance(m, nn.BatchNorm2d))
    w1, w2 = array(first.weight)[:, :, 0, 0], array(second.weight)[:, :, 0, 0]
    assert w1.shape == (8, 16)
    x = array(maps_nchw)
    y = sum(np.maximum(pooled @ w1.T, 0) @ w2.T for pooled in (x.mean((2, 3)), x.max((2, 3))))
    y = x * sigmoid(y)[:, :, None, None]
    s = correlate_maps(np.stack([y.mean(1), y.max(1)], 1), array(seven.weight)[0])
    s = (s - array(norm.running_mean)) / np.sqrt(array(norm.running_var) + norm.eps)
    expected = y * sigmoid(s * array(norm.weight) + array(norm.bias))
    np.testing.assert_allclose(array(module(maps_nchw)), expected, atol=1e-5)


def test_every_kind_has_its_name_in_the_option_type() -> None:
    assert set(get_args(Attention)) == set(SKIP_ATTENTIONS)


@pytest.mark.parametrize("name", SKIP_ATTENTIONS)
@pytest.mark.parametrize("channels", [1, 6, 16])
def test_any_number_of_channels(name: str, channels: int) -> None:
    module = SKIP_ATTENTIONS[name](channels, 3, "batch")
    skip_nchw = torch.randn(2, channels, 4, 5)
    weighed_nchw = module(skip_nchw, torch.randn(2, 3, 4, 5))
    assert weighed_nchw.shape == skip_nchw.shape
    if name == "none":
        assert weighed_nchw is skip_nchw
    else:  # every kind multiplies by weights in (0, 1); scSE adds two such products
        assert ((weighed_nchw / skip_nchw > 0) & (weighed_nchw / skip_nchw < (2 if name == "scse" else 1))).all()

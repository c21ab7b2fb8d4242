"""Attention of the U-Net family by name: what happens to a skip connection before it joins the decoder.

``SKIP_ATTENTIONS`` maps a name to ``builder(skip_channels, gating_channels, norm)``; the module that it builds is
called as ``module(skip_nchw, gating_nchw)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from ensemble.architectures.layout import weigh_pixels
from ensemble.architectures.norms import Norm, conv_norm

# timm is slow to import and most networks do not need it, so the functions here import it only when they are called.
Attention = Literal["none", "gate", "wide-gate", "se", "eca", "spatial-channel", "scse", "cbam"]
AttentionBuilder = Callable[[int, int, Norm], nn.Module]


class AttentionGate(nn.Module):
    """Let the decoder decide, pixel by pixel, how much of a skip passes (additive attention gate).

    ``a = sigmoid(N(psi * relu(N(W_x * x) + N(W_g * g))))``, ``out = a x``

    with 1x1 convolutions, one map ``a`` for all channels, and ``F_int`` inner channels. The gating signal is up-sampled
    to the skip's size before, so ``W_x`` needs no stride.

    Args:
        skip_channels: F, channels of the skip x.
        gating_channels: channels of the gating signal g.
        norm: N, a name of `NORMS`; the paper's is "batch".
        multiple: ``F_int`` is F / 2, as in the paper, rounded up to a multiple of this number.

    Reference:
        Oktay et al., Attention U-Net: Learning Where to Look for the Pancreas, 2018, equations 1 and 2.
    """

    def __init__(self, skip_channels: int, gating_channels: int, norm: Norm = "batch", *, multiple: int = 1) -> None:
        super().__init__()
        inner = -(-max(1, skip_channels // 2) // multiple) * multiple
        self.skip = conv_norm(skip_channels, inner, 1, norm=norm)
        self.gating = conv_norm(gating_channels, inner, 1, norm=norm)
        self.psi = conv_norm(inner, 1, 1, norm=norm)

    def forward(self, skip_nchw: Tensor, gating_nchw: Tensor) -> Tensor:
        """Map a skip (n, F, h, w) and a signal (n, gating_channels, h, w) to the gated skip (n, F, h, w)."""
        joint_nchw = torch.relu(self.skip(skip_nchw) + self.gating(gating_nchw))
        attention_n1hw = torch.sigmoid(self.psi(joint_nchw))
        return weigh_pixels(skip_nchw, attention_n1hw)


def wide_gate(skip_channels: int, gating_channels: int, norm: Norm = "batch") -> AttentionGate:
    """Return an `AttentionGate` with a multiple of 16 inner channels, which trains faster than one with 8 on a CPU.

    Two threads of torch's batch norm write their sums of 8 or 24 channels into one cache line, and wait for each other;
    16 floats fill a line.
    """
    return AttentionGate(skip_channels, gating_channels, norm, multiple=16)


class SpatialChannelGate(nn.Module):
    """Weigh the pixels and the channels of a skip by the skip and the decoder together (spatial-channel gate).

    ``s = sigmoid(W_s * [max_c x, mean_c x, w_x * x, max_c g, mean_c g, w_g * g])``, one map, W_s of 7x7
    ``c = sigmoid(W_2 W_1 [mean_hw x, max_hw x, mean_hw g, max_hw g])``, one number per channel, W_1 to F / 8
    ``out = x s c``

    with 1x1 convolutions w_x and w_g to one map. The paper adds one convolution of x and one of g, and four linear
    maps; a convolution of the concatenated maps is the same sum.

    Args:
        skip_channels: F, channels of the skip x.
        gating_channels: channels of the gating signal g, up-sampled to the skip's size.

    Reference:
        Khanh et al., Enhancing U-Net with Spatial-Channel Attention Gate for Abnormal Tissue Segmentation in Medical
        Imaging, Applied Sciences 10:5729, 2020, section 3.
    """

    def __init__(self, skip_channels: int, gating_channels: int) -> None:
        super().__init__()
        inner = max(1, skip_channels // 8)
        self.skip_map = nn.Conv2d(skip_channels, 1, 1, bias=False)
        self.gating_map = nn.Conv2d(gating_channels, 1, 1, bias=False)
        self.spatial = nn.Conv2d(6, 1, 7, padding=3)
        self.squeeze = nn.Conv2d(2 * (skip_channels + gating_channels), inner, 1, bias=False)
        self.excite = nn.Conv2d(inner, skip_channels, 1)

    def forward(self, skip_nchw: Tensor, gating_nchw: Tensor) -> Tensor:
        """Map a skip (n, F, h, w) and a signal (n, gating_channels, h, w) to the weighted skip (n, F, h, w)."""
        maps, vectors = list[Tensor](), list[Tensor]()
        for x_nchw, to_map in ((skip_nchw, self.skip_map), (gating_nchw, self.gating_map)):
            maps += [x_nchw.amax(1, keepdim=True), x_nchw.mean(1, keepdim=True), to_map(x_nchw)]
            vectors += [x_nchw.mean((2, 3), keepdim=True), x_nchw.amax((2, 3), keepdim=True)]
        spatial_n1hw = torch.sigmoid(self.spatial(torch.cat(maps, dim=1)))
        channel_nc11 = torch.sigmoid(self.excite(self.squeeze(torch.cat(vectors, dim=1))))
        return weigh_pixels(skip_nchw, spatial_n1hw) * channel_nc11


class ConcurrentAttention(nn.Module):
    """Weigh channels and pixels side by side (scSE): ``SE(x) + x sigmoid(w * x)`` with w a 1x1 convolution to one map.

    Args:
        channels: channels of x; any number, unlike in smp's own module, which needs at least 16.

    Reference:
        Roy et al., Concurrent Spatial and Channel Squeeze & Excitation in Fully Convolutional Networks, 2018,
        section 2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = squeeze_excitation(channels)
        self.spatial = nn.Conv2d(channels, 1, 1)

    def forward(self, maps_nchw: Tensor) -> Tensor:
        """Map (n, channels, h, w) to the same shape."""
        return self.channel(maps_nchw) + weigh_pixels(maps_nchw, torch.sigmoid(self.spatial(maps_nchw)))


def squeeze_excitation(channels: int, reduction: int = 16) -> nn.Module:
    """Return timm's channel attention: ``x * sigmoid(W_2 relu(W_1 mean_hw(x)))``.

    Args:
        channels: channels of x.
        reduction: the inner layer has ``channels / reduction`` units, rounded to a multiple of 8 (at least 8).

    Reference:
        Hu et al., Squeeze-and-Excitation Networks, 2018, equations 2 to 4.
    """
    from timm.layers import SEModule  # noqa: PLC0415

    return SEModule(channels, rd_ratio=1 / reduction)


def efficient_channel(channels: int) -> nn.Module:
    """Return timm's ECA: ``x * sigmoid(w * mean_hw(x))`` with w a convolution of 3 or 5 taps along the channels.

    Reference:
        Wang et al., ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks, 2020, equation 9.
    """
    from timm.layers import EcaModule  # noqa: PLC0415

    return EcaModule(channels)


def convolutional_attention(channels: int) -> nn.Module:
    """Return timm's CBAM, which weighs the channels and then the pixels.

    ``y = x * sigmoid(M(mean_hw(x)) + M(max_hw(x)))`` with M the two layers of SE without biases
    ``out = y * sigmoid(BN(w * [mean_c(y), max_c(y)]))`` with w of 7x7

    The inner layer has as many units as in `squeeze_excitation`. timm's own default would give 16 channels a single
    ReLU unit, which may be dead from the start.

    Reference:
        Woo et al., CBAM: Convolutional Block Attention Module, 2018, equations 1 to 3.
    """
    from timm.layers.cbam import CbamModule  # noqa: PLC0415

    return CbamModule(channels, rd_divisor=8)


class _OfSkip(nn.Module):
    """Apply an attention module to the skip and ignore the gating signal."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, skip_nchw: Tensor, gating_nchw: Tensor) -> Tensor:
        return self.attention(skip_nchw)


def _of_skip(build: Callable[[int], nn.Module]) -> AttentionBuilder:
    return lambda skip_channels, gating_channels, norm: _OfSkip(build(skip_channels))


SKIP_ATTENTIONS: dict[str, AttentionBuilder] = {
    "none": _of_skip(nn.Identity),
    "gate": AttentionGate,
    "wide-gate": wide_gate,
    "se": _of_skip(squeeze_excitation),
    "eca": _of_skip(efficient_channel),
    "spatial-channel": lambda skip_channels, gating_channels, norm: SpatialChannelGate(skip_channels, gating_channels),
    "scse": _of_skip(ConcurrentAttention),
    "cbam": _of_skip(convolutional_attention),
}

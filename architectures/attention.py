"""Attention for the U-Net family: what happens to a skip connection before it joins the decoder.

``SKIP_ATTENTIONS`` maps a name to ``builder(skip_channels, gating_channels) -> module(skip_nchw, gating_nchw)``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class PassSkip(nn.Module):
    """No attention: the skip as it is."""

    def forward(self, skip_nchw: Tensor, gating_nchw: Tensor) -> Tensor:
        """Return ``skip_nchw``; the gating signal is not read."""
        return skip_nchw


class AttentionGate(nn.Module):
    """Additive attention gate: the decoder decides, pixel by pixel, how much of a skip passes.

    ``a = sigmoid(BN(psi * relu(BN(W_x * x) + BN(W_g * g))))``, ``out = a x``

    with 1x1 convolutions, one map ``a`` for all channels, and ``F_int = F / 2`` inner channels. The gating signal
    arrives up-sampled to the skip's size, so that ``W_x`` needs no stride. The convolutions have no bias since a
    batch norm follows each.

    Args:
        skip_channels: F, channels of the skip x.
        gating_channels: channels of the gating signal g.

    Reference:
        Oktay et al., Attention U-Net: Learning Where to Look for the Pancreas, 2018, equations 1 and 2.
    """

    def __init__(self, skip_channels: int, gating_channels: int) -> None:
        super().__init__()
        inner = max(1, skip_channels // 2)
        self.skip = nn.Sequential(nn.Conv2d(skip_channels, inner, 1, bias=False), nn.BatchNorm2d(inner))
        self.gating = nn.Sequential(nn.Conv2d(gating_channels, inner, 1, bias=False), nn.BatchNorm2d(inner))
        self.psi = nn.Sequential(nn.Conv2d(inner, 1, 1, bias=False), nn.BatchNorm2d(1))

    def forward(self, skip_nchw: Tensor, gating_nchw: Tensor) -> Tensor:
        """(n, F, h, w) and (n, gating_channels, h, w) to the gated skip (n, F, h, w)."""
        joint_nchw = torch.relu(self.skip(skip_nchw) + self.gating(gating_nchw))
        attention_n1hw = torch.sigmoid(self.psi(joint_nchw))
        return skip_nchw * attention_n1hw


def squeeze_excitation(channels: int, reduction: int = 16) -> nn.Module:
    """Channel attention: ``x * sigmoid(W_2 relu(W_1 mean_hw(x)))``, timm's module.

    Args:
        channels: channels of x.
        reduction: the inner layer has ``channels / reduction`` units, rounded to a multiple of 8 (at least 8).

    Reference:
        Hu et al., Squeeze-and-Excitation Networks, 2018, equations 2 to 4.
    """
    from timm.layers import SEModule  # noqa: PLC0415 - timm is slow to import and most networks do without it

    return SEModule(channels, rd_ratio=1 / reduction)


def _no_attention(skip_channels: int, gating_channels: int) -> nn.Module:
    return PassSkip()


SKIP_ATTENTIONS: dict[str, Callable[[int, int], nn.Module]] = {"none": _no_attention, "gate": AttentionGate}

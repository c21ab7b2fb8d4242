"""The registry of architectures: names map to factories ``(in_channels, classes, *, options) -> nn.Module``."""

from __future__ import annotations

from torch import nn

from ensemble.core.registry import Registry

ARCHITECTURES: Registry[nn.Module] = Registry("architecture", group="ens.architectures")

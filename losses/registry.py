"""The registry of losses: names map to factories ``(counts_c, *, options) -> nn.Module``."""

from __future__ import annotations

from torch import nn

from ensemble.core.registry import Registry

LOSSES: Registry[nn.Module] = Registry("loss", group="ens.losses")

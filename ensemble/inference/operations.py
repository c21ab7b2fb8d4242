"""Count the operations of a network by torch's formulas."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode


def gflops(network: nn.Module, image_1chw: Tensor) -> float:
    """Return the billions of operations of one forward pass; a multiplication with an addition counts as two.

    The numbers are those of `torch.utils.flop_counter.FlopCounterMode`.
    """
    with torch.no_grad(), _Counted() as counted:
        network(image_1chw)
    return counted.operations / 1e9


class _Counting:
    """Add up the operations of what torch calculates.

    torch loads its compiler, which takes a second, for modes that define ``__torch_dispatch__`` in their own class, as
    `FlopCounterMode` does; so this class, which defines it, is no mode.
    """

    operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        from torch.utils.flop_counter import flop_registry  # noqa: PLC0415  (not needed to predict)

        named = kwargs or {}
        found = func(*args, **named)
        if func.overloadpacket in flop_registry:
            self.operations += flop_registry[func.overloadpacket](*args, **named, out_val=found)
        return found


class _Counted(_Counting, TorchDispatchMode):
    """Count inside the block."""

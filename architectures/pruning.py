"""Remove what a network owns but never uses, such as the encoder stages below the chosen depth.

Those weights would be saved, decayed and averaged with every member: a ResNet-18 cut at depth 3 keeps 10.5 of its
11.4 million parameters without ever giving them a gradient.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn


class Removed(nn.Identity):
    """In the place of a removed sub-module: the first argument as it is, whatever else the caller passes."""

    def forward(self, input: Tensor, *_: Any, **__: Any) -> Tensor:
        """Return ``input``."""
        return input


def prune_unused(network: nn.Module, probe_nchw: Tensor) -> list[str]:
    """Replace by `Removed` each largest sub-module that takes no part in ``network(probe_nchw)``.

    A sub-module goes when no gradient reaches any of its parameters *and* the output without it is equal to the last
    bit. That covers stages that are never called and stages whose result is thrown away (smp's MobileNet), and keeps
    modules whose weight is read without a call (``nn.MultiheadAttention``). Placeholders keep the positions in lists;
    training modes, batch statistics and the random state stay as they were.

    Args:
        network: changed in place; judged in evaluation mode, so that a part that acts in training only goes too.
        probe_nchw: one small input, (n, c, h, w); not constant, or it might miss what a part does.

    Returns:
        The names of the replaced sub-modules, in the order of ``named_modules``.
    """
    removed: list[str] = []
    with _evaluating(network):
        with torch.enable_grad():
            expected_nchw: Tensor = network(probe_nchw)
            used = _owners_with_gradient(network, expected_nchw)
        # From the last to the first: a stage may need the channels of the stage before it until it is gone itself.
        for name in reversed(list(_without_gradient(network, "", used))):
            removed += _remove(network, name, probe_nchw, expected_nchw)
    return removed[::-1]


def _owners_with_gradient(network: nn.Module, output_nchw: Tensor) -> set[nn.Module]:
    """Modules that hold, themselves, a parameter the output depends on."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(output_nchw.sum(), parameters, allow_unused=True) if parameters else ()
    gradients = cast("tuple[Tensor | None, ...]", found)  # torch's annotation forgets allow_unused
    unused = {id(p) for p, gradient in zip(parameters, gradients, strict=True) if gradient is None}
    # A frozen parameter has no gradient to judge by: it counts as used.
    return {m for m in network.modules() if any(id(p) not in unused for p in m.parameters(recurse=False))}


def _without_gradient(module: nn.Module, prefix: str, used: set[nn.Module]) -> Iterator[str]:
    """Names of the largest sub-modules that have parameters, none of them in a used module."""
    for name, child in module.named_children():
        if _has_parameters(child) and used.isdisjoint(child.modules()):
            yield prefix + name
        else:
            yield from _without_gradient(child, f"{prefix}{name}.", used)


def _remove(network: nn.Module, name: str, probe_nchw: Tensor, expected_nchw: Tensor) -> list[str]:
    """Remove the sub-module, or those of its parts that can go; return their names, last first."""
    module = network.get_submodule(name)
    network.set_submodule(name, Removed())
    if _gives(network, probe_nchw, expected_nchw):
        return [name]
    network.set_submodule(name, module)
    parts = [part for part, child in module.named_children() if _has_parameters(child)]
    return [gone for part in reversed(parts) for gone in _remove(network, f"{name}.{part}", probe_nchw, expected_nchw)]


def _gives(network: nn.Module, probe_nchw: Tensor, expected_nchw: Tensor) -> bool:
    try:
        with torch.no_grad():
            return torch.equal(network(probe_nchw), expected_nchw)
    except Exception:  # without the part the network may fail in any way; then the part stays
        return False


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


@contextmanager
def _evaluating(network: nn.Module) -> Generator[None]:
    """Evaluation mode inside; afterwards each module's own mode again (a frozen norm stays frozen)."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training

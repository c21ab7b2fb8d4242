"""Remove the parts of a network that it never uses, such as the encoder stages below the chosen depth.

Their weights would be saved, decayed and averaged with every member. A ResNet-18 cut at depth 3, for example, keeps
10.5 of its 11.4 million parameters although they never get a gradient.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn


class Removed(nn.Identity):
    """Placeholder of a removed sub-module: it returns its first argument and ignores all others."""

    def forward(self, input: Tensor, *_: Any, **__: Any) -> Tensor:
        """Return ``input``."""
        return input


def prune_unused(network: nn.Module, probe_nchw: Tensor) -> list[str]:
    """Replace the sub-modules that take no part in ``network(probe_nchw)`` by `Removed`, each as large as possible.

    A sub-module is removed when no gradient reaches any of its parameters *and* the output without it is equal to the
    last bit. This covers stages that are never called and stages whose result is thrown away (smp's MobileNet). It
    keeps modules whose weight is read without a call (``nn.MultiheadAttention``). Placeholders keep the positions in
    lists; training modes, batch statistics and the random state stay as they were.

    Args:
        network: changed in place. It is judged in evaluation mode, so a part that acts only in training is removed too.
        probe_nchw: one small input, (n, c, h, w); it must not be constant, or the effect of a part might not show.

    Returns:
        The names of the replaced sub-modules, in the order of ``named_modules``.
    """
    removed: list[str] = []
    with _evaluating(network):
        with torch.enable_grad():
            expected_nchw: Tensor = network(probe_nchw)
            used = _owners_with_gradient(network, expected_nchw)
        # The last one goes first, because a stage needs the channels of the stage before it as long as it is there.
        for name in reversed(list(_without_gradient(network, "", used))):
            removed += _remove(network, name, probe_nchw, expected_nchw)
    return removed[::-1]


def _owners_with_gradient(network: nn.Module, output_nchw: Tensor) -> set[nn.Module]:
    """Return the modules that directly hold a parameter on which the output depends."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    computed = torch.autograd.grad(output_nchw.sum(), parameters, allow_unused=True) if parameters else ()
    gradients = cast("tuple[Tensor | None, ...]", computed)  # torch's annotation forgets allow_unused
    unused = {id(p) for p, gradient in zip(parameters, gradients, strict=True) if gradient is None}
    # A frozen parameter has no gradient that could show its use, so it counts as used.
    return {m for m in network.modules() if any(id(p) not in unused for p in m.parameters(recurse=False))}


def _without_gradient(module: nn.Module, prefix: str, used: set[nn.Module]) -> Iterator[str]:
    """Yield the names of the largest sub-modules that have parameters and hold no used module."""
    for name, child in module.named_children():
        if _has_parameters(child) and used.isdisjoint(child.modules()):
            yield prefix + name
        else:
            yield from _without_gradient(child, f"{prefix}{name}.", used)


def _remove(network: nn.Module, name: str, probe_nchw: Tensor, expected_nchw: Tensor) -> list[str]:
    """Remove the sub-module, or those of its parts that can be removed; return their names, the last one first."""
    module = network.get_submodule(name)
    network.set_submodule(name, Removed())
    if _gives(network, probe_nchw, expected_nchw):
        return [name]
    network.set_submodule(name, module)
    parts = [part for part, child in module.named_children() if _has_parameters(child)]
    return [
        removed for part in reversed(parts) for removed in _remove(network, f"{name}.{part}", probe_nchw, expected_nchw)
    ]


def _gives(network: nn.Module, probe_nchw: Tensor, expected_nchw: Tensor) -> bool:
    try:
        with torch.no_grad():
            return torch.equal(network(probe_nchw), expected_nchw)
    except Exception:  # without the part the network may fail in any way, and then the part must stay
        return False


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


@contextmanager
def _evaluating(network: nn.Module) -> Generator[None]:
    """Put the network in evaluation mode inside the block; afterwards restore the mode of each module."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training

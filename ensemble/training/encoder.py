"""Step 5 of training, for networks with an encoder: freeze it or its first stages, and give it a rate of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from ensemble.config import MemberSettings
from ensemble.core.errors import EnsError
from ensemble.core.registry import BUILT_IN
from ensemble.inference.network import Network

ENCODER = "encoder"  # name of the sub-module in networks, and of its groups in the optimiser
PROBE = 64  # pixels of a side of the image that finds the stages


def encoders(network: nn.Module) -> list[nn.Module]:
    """Return the sub-modules called ``encoder`` that lie in no other one: one, or two in a cascade."""
    found: list[str] = []
    for name, _ in network.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if name.rpartition(".")[2] == ENCODER and not inside:
            found.append(name)
    return [network.get_submodule(name) for name in found]


def freeze(network: Network, what: str | int) -> list[nn.Module]:
    """Freeze a part of a network: its parameters get no gradients.

    Args:
        network: changed in place.
        what: "none", "encoder", or a number of its first stages, see `stages`.

    Returns:
        The largest sub-modules all of whose parameters are frozen. They belong in evaluation mode, in which BatchNorm
        uses and keeps its statistics and dropout does nothing.

    Raises:
        EnsError: the network has no encoder, or one with fewer or unknown stages.
    """
    if what == "none":
        return []
    each = _need_encoders(network)
    for encoder in each:
        if isinstance(what, int):
            for parameter in _first_stages(network, encoder, what):
                parameter.requires_grad_(False)
        else:
            encoder.requires_grad_(False)
    return [part for encoder in each for part in _frozen_parts(encoder)]


def stages(network: Network, encoder: nn.Module) -> list[list[nn.Parameter]]:
    """Return the parameters of each stage of an encoder, the first one first.

    If the encoder is a list of modules, each of them is a stage. Otherwise it returns a list of maps, as the encoders
    of segmentation-models-pytorch do: a stage holds the parameters that a map depends on and earlier maps do not. For
    ResNet, these are the first convolution with its norm, then ``layer1`` and so on; a Lite network has its first
    convolution and first block in stage 1. Maps that depend on nothing new, such as the image itself, are no stage.

    Args:
        network: the network that holds the encoder; it stays as it is.
        encoder: one of `encoders`.
    """
    if isinstance(encoder, nn.ModuleList | nn.Sequential):
        return [list(child.parameters()) for child in encoder.children()]
    found: list[list[nn.Parameter]] = []
    rest = list(encoder.parameters())
    for maps_nchw in _maps(network, encoder):
        if not maps_nchw.requires_grad or not rest:
            continue
        computed = torch.autograd.grad(maps_nchw.sum(), rest, retain_graph=True, allow_unused=True)
        gradients = cast("tuple[Tensor | None, ...]", computed)  # torch's annotation forgets allow_unused
        pairs = list(zip(rest, gradients, strict=True))
        if new := [parameter for parameter, gradient in pairs if gradient is not None]:
            found.append(new)
            rest = [parameter for parameter, gradient in pairs if gradient is None]
    return found


def parameter_groups(network: nn.Module, settings: MemberSettings) -> list[dict[str, Any]]:
    """Return the groups of an optimiser: matrices and vectors, those of the encoder apart if its rate is another.

    Norms and biases are not decayed: the next layer would undo their shrinking. Frozen parameters are in no group.
    """
    apart = settings.encoder_lr != 1 or settings.head_warmup > 0
    inside = {id(p) for encoder in _need_encoders(network) for p in encoder.parameters()} if apart else set[int]()
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = []
    for part in (None, ENCODER) if apart else (None,):
        own = [p for p in learning if (id(p) in inside) == (part == ENCODER)]
        named = {} if part is None else {"part": part}
        matrices, vectors = [p for p in own if p.ndim > 1], [p for p in own if p.ndim <= 1]
        groups += [
            {"params": matrices, "weight_decay": settings.optimiser.weight_decay} | named,
            {"params": vectors, "weight_decay": 0} | named,
        ]
    return [group for group in groups if group["params"]]


def check_encoder(settings: MemberSettings, network: Network) -> None:
    """Raise an error if the settings treat an encoder that is not there, or freeze random weights.

    Args:
        settings: settings of the member.
        network: its network with random weights; parts of it are frozen afterwards.
    """
    _need_encoders(network)
    if settings.freeze == "none":
        return
    if settings.pretrained is None and settings.architecture.origin == BUILT_IN:
        raise EnsError(
            "expected encoder weights to freeze, but the encoder starts from random ones; choose an architecture with"
            " encoder_weights, such as 'fpn(encoder_weights=imagenet)', or leave freeze out"
        )
    freeze(network, settings.freeze)


def _need_encoders(network: nn.Module) -> list[nn.Module]:
    if not (found := encoders(network)):
        raise EnsError(
            "freeze, encoder_lr and head_warmup need an architecture with an encoder, and this one has none (no"
            " sub-module 'encoder'); choose another one, such as fpn, or leave them out"
        )
    return found


def _first_stages(network: Network, encoder: nn.Module, count: int) -> list[nn.Parameter]:
    each = stages(network, encoder)
    if not 1 <= count <= len(each):
        raise EnsError(
            f"expected freeze to be encoder or 1 to {len(each)}, the number of its stages, got {count}; change it"
        )
    return [parameter for stage in each[:count] for parameter in stage]


def _maps(network: Network, encoder: nn.Module) -> list[Tensor]:
    """Return the maps that an encoder gives the rest of its network for a small image."""
    given: list[Any] = []
    handle = encoder.register_forward_hook(lambda _module, _inputs, output: given.append(output))
    modes = [(module, module.training) for module in network.modules()]
    parameter = next(network.parameters())
    try:
        with torch.enable_grad():
            network.eval()(parameter.new_zeros(1, network.mean_c.shape[1], PROBE, PROBE))
    finally:
        handle.remove()
        for module, training in modes:
            module.training = training
    maps = given[0] if given else ()
    if isinstance(maps, tuple) and maps and isinstance(maps[0], list | tuple):  # maps, and tokens of a transformer
        maps = maps[0]
    if not isinstance(maps, list | tuple) or not all(isinstance(each, Tensor) for each in maps):
        raise EnsError(
            "the stages of this encoder are unknown, because it returns no list of maps; freeze it as a whole"
        )
    return list(maps)


def _frozen_parts(module: nn.Module) -> Sequence[nn.Module]:
    """Return the largest sub-modules that have parameters, all of them frozen."""
    own = list(module.parameters())
    if own and not any(parameter.requires_grad for parameter in own):
        return [module]
    return [part for child in module.children() for part in _frozen_parts(child)]

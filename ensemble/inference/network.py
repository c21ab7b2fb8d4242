"""Build, load and run the network of a member: what it sees of the images, standardised, then an architecture."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ensemble.architectures import ARCHITECTURES
from ensemble.config import Component, DataFacts, MemberSettings
from ensemble.core.errors import EnsError
from ensemble.core.garbage import uncollected
from ensemble.core.reading import guard
from ensemble.core.registry import BUILT_IN, IMPORTED
from ensemble.inference.memory import check_network_memory, enough_memory
from ensemble.inference.resizing import Resizing
from ensemble.inference.tta import mean_over_views
from ensemble.runs.layout import weights_name
from ensemble.runs.member import Member
from ensemble.runs.run_files import read_file


class Network(nn.Module):
    """A network from native pixels in 0..1 to native logits: resize, standardise, run the architecture, resize back.

    Attributes:
        resizing: what the architecture sees of the images.
    """

    mean_c: Tensor
    std_c: Tensor

    def __init__(self, body: nn.Module, mean_c: Tensor, std_c: Tensor, resizing: Resizing | None = None) -> None:
        super().__init__()
        self.body = body
        self.resizing = resizing or Resizing()
        self.register_buffer("mean_c", mean_c.float().reshape(1, -1, 1, 1))
        self.register_buffer("std_c", std_c.float().reshape(1, -1, 1, 1))

    def forward(self, images_nchw: Tensor) -> Tensor:
        """Return logits (n, outputs, h, w) of images (n, bands, h, w) with pixels in 0..1, of any height and width."""
        return self._native(self.body(self._seen(images_nchw)), images_nchw)

    def supervised(self, images_nchw: Tensor) -> list[Tensor]:
        """Return all logits that training supervises, in native pixels, the final logits first.

        An architecture with a method ``supervised`` (deep supervision, a cascade) adds intermediate logits.
        """
        seen_nchw, supervised = self._seen(images_nchw), getattr(self.body, "supervised", None)
        each = [self.body(seen_nchw)] if supervised is None else supervised(seen_nchw)
        return [self._native(logits_nchw, images_nchw) for logits_nchw in each]

    def _seen(self, images_nchw: Tensor) -> Tensor:
        return (self.resizing.of(images_nchw) - self.mean_c) / self.std_c

    def _native(self, logits_nchw: Tensor, images_nchw: Tensor) -> Tensor:
        height, width = images_nchw.shape[2:]
        return self.resizing.undo(logits_nchw, (height, width))


@enough_memory()
def build_network(settings: MemberSettings, facts: DataFacts, *, pretrained: bool = False) -> Network:
    """Return a network with random weights, drawn from torch's global generator.

    Args:
        settings: settings of the member.
        facts: facts about its data: numbers of bands and outputs.
        pretrained: load the encoder weights that the settings name; pass False if trained weights are loaded later.

    Raises:
        EnsError: the architecture comes from a plug-in that is not loaded or has changed, or is too large.
    """
    architecture = settings.architecture
    check_origin(architecture, "this member")
    options = dict(architecture.options)
    if not pretrained and "encoder_weights" in options:
        options["encoder_weights"] = None
    with uncollected():  # it may load timm
        body = ARCHITECTURES.create(architecture.name, facts.bands, facts.outputs, **options)
    resizing = Resizing(settings.input_size, settings.input_scale)
    return Network(body, torch.zeros(facts.bands), torch.ones(facts.bands), resizing)


def build_within_memory(settings: MemberSettings, facts: DataFacts) -> Network:
    """Return a network with random weights, if the memory suffices for it.

    A process that fills the memory bit by bit is killed without an error, so the network is first built without
    numbers, if its architecture allows that. This gives an upper limit: some architectures remove unused weights.

    Raises:
        EnsError: as :func:`build_network`.
    """
    most = 0
    with suppress(Exception), without_numbers():
        most = count_parameters(build_network(settings, facts))
    check_network_memory(most, "cpu")
    return build_network(settings, facts)


@contextmanager
def without_numbers() -> Generator[None]:
    """Build networks inside the block whose weights have shapes, but take no memory."""
    with torch.device("meta"), _NoRandomNumbers():
        yield


class _NoRandomNumbers(TorchFunctionMode):
    """Leave weights as they are where a network would draw them: without memory, torch loads its compiler for it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = (*args, *(kwargs or {}).values())
        drawn = func in (Tensor.normal_, Tensor.uniform_) or getattr(func, "__module__", "") == nn.init.__name__
        return given[0] if drawn else func(*args, **(kwargs or {}))


def count_parameters(network: nn.Module, *, learning: bool = False) -> int:
    """Return the number of weights of a network, or only of those that learn, which are not frozen."""
    return sum(weights.numel() for weights in network.parameters() if weights.requires_grad or not learning)


def check_origin(architecture: Component, member: str) -> None:
    """Refuse to build the architecture from other code than the member was trained with.

    Args:
        architecture: the architecture of the member.
        member: name of the member, for sentences.

    Raises:
        EnsError: it comes from a plug-in that is not loaded or has changed.
    """
    here = ARCHITECTURES.origin(architecture.name) if architecture.name in ARCHITECTURES else None
    if here is None and architecture.origin != BUILT_IN:
        raise EnsError(
            f"the architecture '{architecture.name}' of {member} comes from {architecture.origin}, which is not"
            " loaded; load the file (--plugin, or load_plugin), or install the package"
        )
    if here is not None and _code(here) != _code(architecture.origin):
        raise EnsError(
            f"{member} was trained with the architecture '{architecture.name}' of {architecture.origin}, but here"
            f" it comes from {here}; load that plug-in (--plugin, or load_plugin), or train the member again"
        )


def _code(origin: str) -> str:
    """Return what must agree: a plug-in file with its digest, but a package by name only, whatever its version."""
    return origin if origin.partition(" ")[0].endswith(".py") else origin.partition(" ")[0]


def to_tensor(images_nhwc: NDArray[np.generic], device: str) -> Tensor:
    """Return images (n, h, w, c), uint8 or float32 in 0..1, as a channels-last float tensor (n, c, h, w) in 0..1."""
    if device == "cpu":  # NumPy, because torch would start more threads in the thread that prepares batches
        unit_nhwc = images_nhwc.astype(np.float32)
        if images_nhwc.dtype == np.uint8:
            unit_nhwc /= np.float32(255)
        return torch.from_numpy(unit_nhwc).permute(0, 3, 1, 2)
    tensor = torch.from_numpy(images_nhwc).to(device).permute(0, 3, 1, 2)
    return tensor.float().div_(255) if tensor.dtype == torch.uint8 else tensor.float()


@enough_memory()
def infer(network: nn.Module, images_nhwc: NDArray[np.generic], settings: MemberSettings, device: str) -> Tensor:
    """Return probabilities of all outputs (n, outputs, h, w), float32 on the CPU: the mean over the views of tta."""

    def predict(images_nchw: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=settings.precision == "bf16"):
            logits_nchw = network(images_nchw)
        return torch.softmax(logits_nchw.float(), dim=1)

    return mean_over_views(predict, to_tensor(images_nhwc, device), settings.tta).cpu()


def scored(probs_nchw: Tensor, classes: int) -> Tensor:
    """Return the probabilities of the scored classes, renormalised if the network has a background output."""
    if probs_nchw.shape[1] == classes:
        return probs_nchw
    kept = probs_nchw[:, :classes].clamp_min(1e-12)
    return kept / kept.sum(1, keepdim=True)


@enough_memory()
def load_network(settings: MemberSettings, facts: DataFacts, file: Path, device: str) -> Network:
    """Return the network with the weights in ``file``, ready for inference.

    Raises:
        EnsError: the weights do not fit the architecture.
    """
    network = build_network(settings, facts)
    with guard(file, "the weights of this member", "train it again"):
        network.load_state_dict(load_safetensors(read_file(file)))
    return network.to(device).to(memory_format=torch.channels_last).eval()


def load_networks(member: Member, device: str = "cpu") -> list[Network]:
    """Return the network of every fold of a finished member, ready for inference.

    Raises:
        EnsError: the member was imported and has no network, or its weights are damaged.
    """
    if member.settings.architecture.origin == IMPORTED:
        raise EnsError(
            f"{member.name} was imported as probabilities and has no network; predict with the tool that made it,"
            " or with other members"
        )
    check_origin(member.settings.architecture, member.name)
    names = [weights_name(fold) for fold in range(member.settings.data.folds or 1)]
    member.check(names)
    return [load_network(member.settings, member.facts, member.path / name, device) for name in names]

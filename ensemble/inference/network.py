"""Networks as members use them: an architecture behind the standardisation of its images, and inference with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from ensemble.architectures import ARCHITECTURES
from ensemble.config import Component, DataFacts, MemberSettings
from ensemble.core.errors import EnsError
from ensemble.core.registry import BUILT_IN, IMPORTED
from ensemble.inference.tta import mean_over_views
from ensemble.runs.layout import weights_name
from ensemble.runs.member import Member


class Network(nn.Module):
    """An architecture behind the standardisation of its training images: logits from pixels in 0..1."""

    mean_c: Tensor
    std_c: Tensor

    def __init__(self, body: nn.Module, mean_c: Tensor, std_c: Tensor) -> None:
        super().__init__()
        self.body = body
        self.register_buffer("mean_c", mean_c.float().reshape(1, -1, 1, 1))
        self.register_buffer("std_c", std_c.float().reshape(1, -1, 1, 1))

    def forward(self, images_nchw: Tensor) -> Tensor:
        """Logits (n, outputs, h, w) of images (n, bands, h, w) with pixels in 0..1."""
        return self.body((images_nchw - self.mean_c) / self.std_c)

    def supervised(self, images_nchw: Tensor) -> list[Tensor]:
        """All logits that training supervises, the final ones first: those of ``forward``, and for a network that has
        a ``supervised`` of its own (deep supervision, a cascade) the ones on the way, at full size.
        """
        standard_nchw = (images_nchw - self.mean_c) / self.std_c
        supervised = getattr(self.body, "supervised", None)
        return [self.body(standard_nchw)] if supervised is None else supervised(standard_nchw)


def build_network(settings: MemberSettings, facts: DataFacts, *, pretrained: bool = False) -> Network:
    """A network with random weights drawn from torch's global generator.

    Args:
        settings: of the member.
        facts: its data.
        pretrained: read the encoder's weights where the settings name some; a member's own weights follow otherwise.

    Raises:
        EnsError: the architecture came from a plug-in that is not loaded, or is another one.
    """
    chosen = settings.architecture
    _check_origin(chosen)
    options = dict(chosen.options)
    if not pretrained and "encoder_weights" in options:
        options["encoder_weights"] = None
    body = ARCHITECTURES.create(chosen.name, facts.bands, facts.outputs, **options)
    return Network(body, torch.zeros(facts.bands), torch.ones(facts.bands))


def _check_origin(chosen: Component) -> None:
    """Refuse to build a plug-in's architecture from other code than the member was trained with."""
    here = ARCHITECTURES.origin(chosen.name) if chosen.name in ARCHITECTURES else None
    if here is None and chosen.origin != BUILT_IN:
        raise EnsError(
            f"the architecture '{chosen.name}' of this member comes from {chosen.origin}, which is not loaded;"
            " give the file with --plugin, or install the package"
        )
    if here is not None and _code(here) != _code(chosen.origin):
        raise EnsError(
            f"this member was trained with the architecture '{chosen.name}' of {chosen.origin}, but here it comes"
            f" from {here}; give that plug-in, or train the member again"
        )


def _code(origin: str) -> str:
    """A plug-in file counts with its digest; of a package the name counts, its versions are taken to be compatible."""
    return origin if origin.partition(" ")[0].endswith(".py") else origin.partition(" ")[0]


def to_tensor(images_nhwc: NDArray[np.generic], device: str) -> Tensor:
    """Images (n, h, w, c), uint8 or float32 in 0..1, as a channels-last float tensor (n, c, h, w) in 0..1."""
    if device == "cpu":  # in NumPy: batches are made beside the training, where torch would start threads of its own
        unit_nhwc = images_nhwc.astype(np.float32)
        if images_nhwc.dtype == np.uint8:
            unit_nhwc /= np.float32(255)
        return torch.from_numpy(unit_nhwc).permute(0, 3, 1, 2)
    tensor = torch.from_numpy(images_nhwc).to(device).permute(0, 3, 1, 2)
    return tensor.float().div_(255) if tensor.dtype == torch.uint8 else tensor.float()


def infer(network: nn.Module, images_nhwc: NDArray[np.generic], settings: MemberSettings, device: str) -> Tensor:
    """Softmax over all outputs (n, outputs, h, w) in float32 on the CPU, the mean over the views of its ``tta``."""

    def predict(images_nchw: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=settings.precision == "bf16"):
            logits_nchw = network(images_nchw)
        return torch.softmax(logits_nchw.float(), dim=1)

    return mean_over_views(predict, to_tensor(images_nhwc, device), settings.tta).cpu()


def scored(probs_nchw: Tensor, classes: int) -> Tensor:
    """Probabilities of the scored classes alone, renormalised where the network has a background output."""
    if probs_nchw.shape[1] == classes:
        return probs_nchw
    kept = probs_nchw[:, :classes].clamp_min(1e-12)
    return kept / kept.sum(1, keepdim=True)


def mean_of_folds(
    networks: Sequence[nn.Module], images_nhwc: NDArray[Any], settings: MemberSettings, classes: int, device: str
) -> NDArray[np.float32]:
    """Mean probabilities of the scored classes (n, k, h, w) over the networks of a member's folds."""
    each = [scored(infer(network, images_nhwc, settings, device), classes) for network in networks]
    return torch.stack(each).mean(0).numpy()


def gflops(network: nn.Module, image_1chw: Tensor) -> float:
    """Billions of operations of one forward pass, a multiplication and an addition counting as two."""
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415  (not needed to predict)

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image_1chw)
    return counter.get_total_flops() / 1e9


def load_network(settings: MemberSettings, facts: DataFacts, file: Path, device: str) -> Network:
    """Read weights written by training; a file that does not fit the architecture is an :class:`EnsError`."""
    network = build_network(settings, facts)
    try:
        network.load_state_dict(load_safetensors(file.read_bytes()))
    except Exception as error:  # safetensors raises its own, torch a RuntimeError
        raise EnsError(f"{file} does not hold the weights of this member ({_short(error)}); train it again") from None
    return network.to(device).to(memory_format=torch.channels_last).eval()


def load_networks(member: Member, device: str = "cpu") -> list[Network]:
    """Return the network of every fold of a finished member, ready for inference.

    Raises:
        EnsError: an imported member, which has no network, or damaged weights.
    """
    if member.settings.architecture.origin == IMPORTED:
        raise EnsError(
            f"{member.name} was imported as probabilities and has no network; predict with the tool that made it,"
            " or with other members"
        )
    names = [weights_name(fold) for fold in range(member.settings.data.folds or 1)]
    member.check(names)
    return [load_network(member.settings, member.facts, member.path / name, device) for name in names]


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:120]

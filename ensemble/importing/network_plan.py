"""Plan the import of a trained network: fit its weights to an architecture and to data; find every mistake first."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

from ensemble.architectures import ARCHITECTURES
from ensemble.config import Component, DataFacts, MemberSettings, OptimiserSettings, TrainSettings, slug
from ensemble.core.component_text import parse_component
from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.files import digest
from ensemble.core.formatting import counted
from ensemble.core.progress import Progress, no_progress
from ensemble.core.registry import IMPORTED
from ensemble.data.windows import choose_crop
from ensemble.importing.claim import Claim, check_claim
from ensemble.importing.import_plan import UNKNOWN, Target
from ensemble.importing.network_weights import Weights, check_network, fit_weights, read_weights
from ensemble.inference.hardware import Hardware, choose_hardware
from ensemble.inference.network import Network, build_network, to_tensor
from ensemble.runs.layout import members_folder
from ensemble.training.plan import Plan
from ensemble.training.plan_again import split_again

SETTINGS = ("crop", "input_size", "input_scale", "tta", "device", "precision")
"""Settings of training that say what a network sees of an image, and how it predicts."""
PROBES, MOST = ((37, 45), (64, 33)), 1024  # pixels of images that are tried: a network takes any size
Numbers = float | Sequence[float] | None


@dataclass(frozen=True)
class NetworkPlan:
    """A trained network that can be imported.

    Attributes:
        plan: the plan of the member, as if it was to be trained.
        networks: a network with its weights, or one for each fold.
        weights: the files that they come from.
        claim: what the user says about their training.
        digest: digest of everything that decides the predictions.
        like: name of the member whose split is used; None for a new split.
    """

    plan: Plan
    networks: tuple[Network, ...]
    weights: tuple[Weights, ...]
    claim: Claim
    digest: str
    like: str | None


def plan_network(
    files: Sequence[Path],
    name: str,
    target: Target,
    *,
    arch: str,
    loss: str = UNKNOWN,
    trained_on: str | None = None,
    mean: Numbers = None,
    std: Numbers = None,
    settings: Mapping[str, Any],
    runs: Path,
    progress: Progress = no_progress,
) -> NetworkPlan:
    """Read and check everything, and return the plan of the member; write nothing.

    Raises:
        EnsError: see `ensemble.importing.import_network.import_network`.
    """
    for one in settings:
        if one not in SETTINGS:
            raise UnknownName("setting", one, SETTINGS)
    started, dataset = time.perf_counter(), target.dataset
    asked = TrainSettings(data=target.data.source, arch=arch, **settings)
    member, hardware = _settings(asked, target, loss, cross_validated=len(files) > 1)
    weights = tuple(read_weights(file) for file in files)
    groups, split = split_again(dataset, target.data, target.split_hash, target.like or "the split", progress)
    claim = check_claim(len(files), trained_on, dataset, groups, split)
    facts = dataset.facts(target.split_hash)
    given = _statistics(mean, "mean", facts), _statistics(std, "std", facts)
    networks = tuple(_network(one, given, member, facts, arch) for one in weights)
    for network in networks:
        _try(network, dataset.image(int(split.scored[0])), facts, arch)
    content = digest(*(_digest(network) for network in networks), claim.text, claim.digest)
    short = member.content_hash(facts.data_hash + facts.split_hash, content)[:6]
    path = members_folder(runs) / f"{slug(name)}-{short}"
    parameters = sum(tensor.numel() for tensor in networks[0].parameters())
    plan = Plan(member, facts, dataset, groups, split, hardware, parameters, path, started=started)
    return NetworkPlan(plan, networks, weights, claim, content, target.like)


def _settings(
    asked: TrainSettings, target: Target, loss: str, *, cross_validated: bool
) -> tuple[MemberSettings, Hardware]:
    """Return the settings of the member, of whose training nothing is known, and the hardware that predicts."""
    architecture, hardware = parse_component(asked.arch, ARCHITECTURES), choose_hardware(asked.device, asked.precision)
    origin = ARCHITECTURES.origin(architecture.name)
    resolved: dict[str, Any] = {
        # Several networks predict a fold each. One network predicts all images, and then there is one file of weights.
        "data": target.data if cross_validated else target.data.model_copy(update={"folds": None}),
        "architecture": Component(name=architecture.name, options=architecture.options, origin=origin),
        "loss": Component(name=loss, origin=IMPORTED),
        "augmentation": UNKNOWN,
        "sampler": UNKNOWN,
        "exclude": (),
        "optimiser": OptimiserSettings(),
        "crop": choose_crop(asked.crop, target.dataset, asked.input_size),
        "device": hardware.device,
        "precision": hardware.precision,
        "threads": hardware.threads,
    }
    return asked.part(MemberSettings, **resolved), hardware


def _statistics(given: Numbers, name: str, facts: DataFacts) -> Tensor | None:
    """Return mean or standard deviation of each band as the user gives it, for pixels in 0..1."""
    if given is None:
        return None
    numbers = [float(number) for number in (given if isinstance(given, Sequence) else [given])]
    if len(numbers) not in (1, facts.bands):
        raise EnsError(
            f"expected one {name} or {counted(facts.bands, 'number')}, one for each band of the data, got"
            f" {len(numbers)}; the network takes the bands of the data"
        )
    low, high = (0.0, 1.0) if name == "mean" else (1e-6, 1.0)
    wrong = next((number for number in numbers if not low <= number <= high), None)
    if wrong is not None:
        lowest, highest = facts.span
        raise EnsError(
            f"expected a {name} {'from 0' if name == 'mean' else 'above 0 and up'} to 1, for pixels that were brought"
            f" from {lowest:g}..{highest:g} to 0..1, got {wrong:g}; divide a {name} of pixels up to 255 by 255"
        )
    return torch.tensor(numbers).expand(facts.bands)


def _network(
    weights: Weights, given: tuple[Tensor | None, Tensor | None], settings: MemberSettings, facts: DataFacts, arch: str
) -> Network:
    network = build_network(settings, facts)
    wanted = f"{counted(facts.bands, 'band')} and {counted(facts.outputs, 'output channel')}"
    fit_weights(network.body, weights, arch, wanted)
    for buffer, mine, theirs in (
        (network.mean_c, given[0], weights.mean_c),
        (network.std_c, given[1], weights.std_c),
    ):
        chosen = theirs if mine is None else mine
        if chosen is not None and chosen.numel() != facts.bands:
            raise EnsError(
                f"{weights.path} holds mean and standard deviation of {counted(chosen.numel(), 'band')}, but the data"
                f" have {facts.bands}; give mean and std"
            )
        if chosen is not None:
            buffer.copy_(chosen.reshape(1, -1, 1, 1))
    return network.to(settings.device).to(memory_format=torch.channels_last).eval()


def _try(network: Network, image_hwc: Any, facts: DataFacts, arch: str) -> None:
    """Check the outputs for an image of the data and for images of other sizes."""
    image = to_tensor(image_hwc[None], str(network.mean_c.device))[:, :, :MOST, :MOST]
    for native in (image, *(functional.interpolate(image, size) for size in PROBES)):
        seen = (network.resizing.of(native) - network.mean_c) / network.std_c
        check_network(network.body, seen, facts.outputs, arch)


def _digest(network: Network) -> str:
    return digest(save({name: tensor.cpu().contiguous().clone() for name, tensor in network.state_dict().items()}))

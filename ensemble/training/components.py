"""Resolve architecture, loss, augmentation and sampler: what a member stores of them, with all that follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ensemble.architectures import ARCHITECTURES
from ensemble.config import Component, TrainSettings
from ensemble.core.component_text import parse_component
from ensemble.core.files import file_digest
from ensemble.core.reading import is_file
from ensemble.core.registry import BUILT_IN
from ensemble.data.augmentation.expression import resolve_augmentation
from ensemble.data.samplers import resolve_sampler
from ensemble.losses import LOSSES, check_loss
from ensemble.losses.expression import parse_sum


def resolve_components(asked: TrainSettings) -> dict[str, Any]:
    """Return the components that a member stores, by the names of its settings.

    Args:
        asked: the settings as the user gave them.

    Raises:
        EnsError: an unknown name, or a wrong option.
    """
    architecture = parse_component(asked.arch, ARCHITECTURES)
    loss, options = check_loss(asked.loss)
    return {
        "architecture": Component(
            name=architecture.name, options=architecture.options, origin=ARCHITECTURES.origin(architecture.name)
        ),
        "pretrained": _pretrained(architecture.options.get("encoder_weights")),
        "loss": Component(name=loss, options=options, origin=loss_origin(loss)),
        "augmentation": resolve_augmentation(asked.augment),
        "sampler": resolve_sampler(asked.sampler),
    }


def _pretrained(weights: str | None) -> str | None:
    """Return the name of the pretrained weights, or the digest of their file, which does not depend on its place."""
    file = Path(weights or "")
    return file_digest(file) if is_file(file) else weights


def loss_origin(expression: str) -> str:
    """Return the plug-ins and packages that the losses of a sum come from, or ``built-in``."""
    foreign = sorted({LOSSES.origin(term.name) for term in parse_sum(expression)} - {BUILT_IN})
    return ", ".join(foreign) or BUILT_IN

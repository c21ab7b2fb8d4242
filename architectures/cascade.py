"""Cascade: a second network sees the image and what the first one made of it."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from ensemble.architectures.checks import check_channels
from ensemble.architectures.registry import ARCHITECTURES
from ensemble.core.errors import EnsError

NAME = "cascade"


class Cascade(nn.Module):
    """``logits = second([images, softmax(first(images))])``.

    Args:
        first: maps (n, in_channels, h, w) to logits (n, classes, h, w); checks its images.
        second: maps (n, in_channels + classes, h, w) to logits (n, classes, h, w).
        frozen: True when nothing of the second's loss reaches the first.

    Reference:
        Khirodkar et al., Sequential Ensembling for Semantic Segmentation, arXiv:2210.05387, 2022.
    """

    def __init__(self, first: nn.Module, second: nn.Module, *, frozen: bool) -> None:
        super().__init__()
        self.first = first
        self.second = second
        self.frozen = frozen

    def forward(self, images_nchw: Tensor) -> Tensor:
        """(n, in_channels, h, w) to the second network's logits (n, classes, h, w)."""
        return self.second(self._joined(images_nchw, self.first(images_nchw)))

    def supervised(self, images_nchw: Tensor) -> list[Tensor]:
        """All that training gives a loss to: the second network's logits, the first's, then what these supervise."""
        first_nchw, *first_sides = _all_logits(self.first, images_nchw)
        second_nchw, *second_sides = _all_logits(self.second, self._joined(images_nchw, first_nchw))
        return [second_nchw, first_nchw, *second_sides, *first_sides]

    def _joined(self, images_nchw: Tensor, first_nchw: Tensor) -> Tensor:
        logits_nchw = first_nchw.detach() if self.frozen else first_nchw
        return torch.cat([images_nchw, torch.softmax(logits_nchw, dim=1)], dim=1)


def _all_logits(network: nn.Module, images_nchw: Tensor) -> list[Tensor]:
    supervised = getattr(network, "supervised", None)
    return [network(images_nchw)] if supervised is None else supervised(images_nchw)


@ARCHITECTURES.register(NAME)
def cascade(
    in_channels: int,
    classes: int,
    *,
    first: str = "unet",
    second: str = "unet",
    first_options: str = "",
    second_options: str = "",
    encoder_weights: str | None = None,
    frozen: bool = False,
) -> nn.Module:
    """Cascade: a second network corrects the first, seeing the image and the first's probabilities.

    In training the first one learns from the loss too, see `Cascade.supervised`.

    Args:
        in_channels: channels of the images.
        classes: channels of the logits.
        first: name of a registered architecture, but not "cascade".
        second: the same.
        first_options: options of the first, as in "filters=8,depth=3".
        second_options: options of the second.
        encoder_weights: None (random), "imagenet" or a file, for each of the two that has an encoder.
        frozen: True keeps the second's loss from the first, which then learns from its own alone.

    Raises:
        UnknownName: for an architecture or option that does not exist.
        EnsError: for an option out of range, naming the stage.

    Reference:
        Khirodkar et al., Sequential Ensembling for Semantic Segmentation, arXiv:2210.05387, 2022.
    """
    check_channels(in_channels, classes)
    if not isinstance(frozen, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise EnsError(f"expected frozen to be true or false, got {frozen!r}; change frozen")
    weights = encoder_weights
    if weights is not None and not any("encoder_weights" in ARCHITECTURES.options(name) for name in (first, second)):
        raise EnsError(f"neither '{first}' nor '{second}' has an encoder; leave encoder_weights out")
    stages = (
        _stage("first", first, first_options, weights, in_channels, classes),
        _stage("second", second, second_options, weights, in_channels + classes, classes),
    )
    return Cascade(*stages, frozen=frozen)


def _stage(label: str, name: str, text: str, weights: str | None, in_channels: int, classes: int) -> nn.Module:
    if name == NAME:
        raise EnsError(f"expected one network as {label} of a cascade, got another cascade; choose a single network")
    # Commas part options and the values of one option: only those before "name=" part options.
    pairs = [part for part in re.split(r",(?=\s*\w+\s*=)", text) if part.strip()]
    try:
        options = ARCHITECTURES.parse_options(name, pairs)
        if "encoder_weights" in options:
            raise EnsError("encoder_weights is an option of the cascade itself; give it there")
        if "encoder_weights" in ARCHITECTURES.options(name):
            options["encoder_weights"] = weights
        return ARCHITECTURES.create(name, in_channels, classes, **options)
    except EnsError as error:
        raise EnsError(f"{label} network of the cascade ({label}, {label}_options): {error}") from error

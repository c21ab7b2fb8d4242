"""Cascade: a second network sees the image and the probabilities of the first one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ensemble.architectures.checks import check_channels
from ensemble.architectures.registry import ARCHITECTURES
from ensemble.core.component_text import ComponentCall, parse_given
from ensemble.core.errors import EnsError

NAME = "cascade"


class Cascade(nn.Module):
    """Two networks in a row: ``logits = second([images, softmax(first(images))])``.

    Args:
        first: maps (n, in_channels, h, w) to logits (n, classes, h, w), and checks its images.
        second: maps (n, in_channels + classes, h, w) to logits (n, classes, h, w).
        frozen: whether the gradient of the second network's loss stops before the first network.

    Reference:
        Khirodkar et al., Sequential Ensembling for Semantic Segmentation, arXiv:2210.05387, 2022.
    """

    def __init__(self, first: nn.Module, second: nn.Module, *, frozen: bool) -> None:
        super().__init__()
        self.first = first
        self.second = second
        self.frozen = frozen

    def forward(self, images_nchw: Tensor) -> Tensor:
        """Map images (n, in_channels, h, w) to the second network's logits (n, classes, h, w)."""
        return self.second(self._joined(images_nchw, self.first(images_nchw)))

    def supervised(self, images_nchw: Tensor) -> list[Tensor]:
        """Return all logits that get a loss in training: the second network's, the first's, then their sides."""
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
    encoder_weights: str | None = None,
    frozen: bool = False,
) -> nn.Module:
    """Cascade: a second network corrects the first, seeing the image and the first's probabilities.

    In training the first network gets a loss of its logits too, see `Cascade.supervised`.

    Args:
        in_channels: channels of the images.
        classes: channels of the logits.
        first: a registered architecture with its options, such as "unet(filters=8, depth=3)", but not "cascade".
        second: a registered architecture with its options.
        encoder_weights: None (random), "imagenet", a package or a file, for each network that has an encoder.
        frozen: if True, the first network learns only from its own loss, and not from that of the second.

    Raises:
        UnknownName: for an architecture or option that does not exist.
        EnsError: for an option out of range; the message names the stage.

    Reference:
        Khirodkar et al., Sequential Ensembling for Semantic Segmentation, arXiv:2210.05387, 2022.
    """
    check_channels(in_channels, classes)
    if not isinstance(frozen, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise EnsError(f"expected frozen to be true or false, got {frozen!r}; change frozen")
    first_call, second_call = _parse("first", first), _parse("second", second)
    names, weights = (first_call.name, second_call.name), encoder_weights
    if weights is not None and not any("encoder_weights" in ARCHITECTURES.options(name) for name in names):
        raise EnsError(
            f"neither '{names[0]}' nor '{names[1]}' has an encoder to load weights into; leave encoder_weights out"
        )
    stages = (
        _stage("first", first_call, weights, in_channels, classes),
        _stage("second", second_call, weights, in_channels + classes, classes),
    )
    return Cascade(*stages, frozen=frozen)


def _parse(label: str, text: str) -> ComponentCall:
    """Return the architecture of one stage and the options that its text gives."""
    try:
        call = parse_given(text, ARCHITECTURES)
        if call.name == NAME:
            raise EnsError("expected a single network, got another cascade; choose a single network")
        if "encoder_weights" in call.options:
            raise EnsError("encoder_weights is an option of the cascade itself, not of a stage; give it to the cascade")
    except EnsError as error:
        raise EnsError(f"{label} network of the cascade: {error}") from error
    return call


def _stage(label: str, call: ComponentCall, weights: str | None, in_channels: int, classes: int) -> nn.Module:
    """Return the network of one stage."""
    own = {"encoder_weights": weights} if "encoder_weights" in ARCHITECTURES.options(call.name) else {}
    try:
        return ARCHITECTURES.create(call.name, in_channels, classes, **call.options, **own)
    except EnsError as error:
        raise EnsError(f"{label} network of the cascade: {error}") from error

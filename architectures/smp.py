"""Networks of segmentation-models-pytorch that fit the contract: any encoder, depth and size, no dead weight."""

from __future__ import annotations

import difflib
from typing import Any

import torch
from torch import Tensor, nn

from ensemble.architectures.checks import check_channels, check_whole
from ensemble.architectures.padding import Padded
from ensemble.architectures.pruning import prune_unused
from ensemble.errors import EnsError, UnknownName

# smp takes seconds to import, so that every function here imports it (and timm) when it is called.
MIN_DEPTH, MAX_DEPTH = 2, 5
TIMM = "tu-"  # smp's prefix for an encoder that timm builds
DEPRECATED = "timm-"  # smp's former prefix; warns, and each has a tu- equivalent
PROBE_SIZE = (32, 96)  # multiples of 2**5 and not square: encoders made for one fixed size show themselves


def known_encoders() -> list[str]:
    """Names of smp's own encoders, sorted; every timm model is reachable besides as ``tu-<its name>``."""
    from segmentation_models_pytorch.encoders import get_encoder_names  # noqa: PLC0415

    return sorted(name for name in get_encoder_names() if not name.startswith(DEPRECATED))


def check_encoder(encoder: str) -> None:
    """Raise unless smp, or timm for a ``tu-`` name, knows the encoder.

    Raises:
        UnknownName: with the nearest names (for ``tu-`` only those: timm has more than a thousand).
    """
    if encoder.startswith(TIMM):
        from timm import is_model  # noqa: PLC0415

        if is_model(encoder.removeprefix(TIMM)):
            return
    elif encoder in (known := known_encoders()):
        return
    elif not encoder.startswith(DEPRECATED):
        raise UnknownName("encoder", encoder, known)
    raise UnknownName("encoder", encoder, _similar_timm_names(encoder))


def _similar_timm_names(encoder: str) -> list[str]:
    from timm import list_models  # noqa: PLC0415

    wanted = encoder.removeprefix(TIMM).removeprefix(DEPRECATED).split(".")[0].lower()
    close = difflib.get_close_matches(wanted, list_models(), n=8, cutoff=0.5)
    return [TIMM + name for name in close] or known_encoders()


def smp_network(kind: str, in_channels: int, classes: int, *, encoder: str, depth: int, **decoder: Any) -> nn.Module:
    """Build ``smp.<kind>`` from random weights, drop the encoder stages it does not use, accept any size.

    Args:
        kind: class name in segmentation_models_pytorch, for example "Linknet".
        in_channels: channels of the images.
        classes: channels of the logits.
        encoder: a name of `known_encoders`, or "tu-" and a timm model name.
        depth: halvings of the size by the encoder, 2 to 5.
        **decoder: arguments of the decoder, already checked.

    Returns:
        A module from (n, in_channels, h, w) to logits (n, classes, h, w), h and w at least 32.

    Raises:
        UnknownName: when no such encoder exists.
        EnsError: when the encoder cannot serve this network at this depth.
    """
    import segmentation_models_pytorch  # noqa: PLC0415

    check_channels(in_channels, classes)
    check_whole("depth", depth, MIN_DEPTH, MAX_DEPTH)
    check_encoder(encoder)
    probe_nchw = _probe(in_channels)
    expected = (1, classes, *PROBE_SIZE)
    try:
        network: nn.Module = getattr(segmentation_models_pytorch, kind)(
            encoder_name=encoder,
            encoder_depth=depth,
            encoder_weights=None,  # smp would download them
            in_channels=in_channels,
            classes=classes,
            **decoder,
        )
        got = _output_shape(network, probe_nchw)
    except Exception as error:  # encoders fail in as many ways as there are authors; the user needs one answer
        raise EnsError(_unfit(kind, encoder, depth, str(error).partition("\n")[0])) from error
    if got != expected:
        raise EnsError(_unfit(kind, encoder, depth, f"its logits are {got}, not {expected}"))
    prune_unused(network, probe_nchw)
    return Padded(network, in_channels, 2**depth)


def _unfit(kind: str, encoder: str, depth: int, reason: str) -> str:
    return (
        f"expected an encoder that {kind} can use at depth {depth}, got '{encoder}' ({reason}); "
        f"choose another depth ({MIN_DEPTH} to {MAX_DEPTH}) or encoder, for example resnet18"
    )


def _probe(in_channels: int) -> Tensor:
    """A ramp instead of noise: building a network must draw from the random state only for its weights."""
    height, width = PROBE_SIZE
    return torch.linspace(0, 1, in_channels * height * width).reshape(1, in_channels, height, width)


def _output_shape(network: nn.Module, probe_nchw: Tensor) -> tuple[int, ...]:
    network.eval()
    with torch.no_grad():
        shape = tuple(network(probe_nchw).shape)
    network.train()
    return shape

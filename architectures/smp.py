"""Build networks of segmentation-models-pytorch (smp) that keep our promises: any encoder, depth and image size.

Weights that the network would never use are removed.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ensemble.architectures.layout import SumOfMaps
from ensemble.architectures.padding import MIN_SIDE, Padded
from ensemble.architectures.pretrained import TIMM, load_encoder_weights
from ensemble.architectures.pruning import prune_unused
from ensemble.core.errors import EnsError, UnknownName

# smp takes seconds to import, so every function here imports it (and timm) only when it is called.
MAX_DEPTH = 5
DEPRECATED = "timm-"  # smp's former prefix; such a name warns, and a tu- name exists for each


def known_encoders() -> list[str]:
    """Return the names of smp's own encoders, sorted. Every timm model works too, as ``tu-<its name>``."""
    from segmentation_models_pytorch.encoders import get_encoder_names  # noqa: PLC0415

    return sorted(name for name in get_encoder_names() if not name.startswith(DEPRECATED))


def check_encoder(encoder: str) -> None:
    """Raise an error unless smp has the encoder, or timm has it for a ``tu-`` name.

    Raises:
        UnknownName: neither of them has it; the message suggests the nearest names.
    """
    if encoder.startswith(TIMM):
        from timm import is_model  # noqa: PLC0415

        if is_model(encoder.removeprefix(TIMM)):
            return
    elif encoder in (known := known_encoders()):
        return
    elif not encoder.startswith(DEPRECATED):
        raise UnknownName("encoder", encoder, known, listing="`ens list encoders`")
    raise UnknownName("encoder", encoder, _similar_timm_names(encoder))


def _similar_timm_names(encoder: str) -> list[str]:
    from timm import list_models  # noqa: PLC0415

    wanted = encoder.removeprefix(TIMM).removeprefix(DEPRECATED).split(".")[0].lower()
    close = difflib.get_close_matches(wanted, list_models(), n=8, cutoff=0.5)
    return [TIMM + name for name in close] or known_encoders()


def smp_network(
    kind: str,
    in_channels: int,
    classes: int,
    *,
    encoder: str,
    encoder_weights: str | None,
    depth: int,
    min_depth: int,
    pad_to: int,
    **decoder: Any,
) -> nn.Module:
    """Build ``smp.<kind>``, load the encoder's weights, drop the stages it does not use, accept any size.

    Args:
        kind: class name in segmentation_models_pytorch, for example "Linknet".
        in_channels: channels of the images.
        classes: channels of the logits.
        encoder: a name of `known_encoders`, or "tu-" and a timm model name.
        encoder_weights: None (random), "imagenet", a package or a file: see `load_encoder_weights`.
        depth: halvings of the size by the encoder, ``min_depth`` to 5; already checked.
        min_depth: smallest depth that the decoder can use.
        pad_to: the sides of the images are padded to multiples of this number of pixels.
        **decoder: arguments of the decoder, already checked.

    Returns:
        A module from (n, in_channels, h, w) to logits (n, classes, h, w), h and w at least 1.

    Raises:
        UnknownName: when no such encoder exists.
        EnsError: when the encoder cannot serve this network at this depth, or its weights cannot be had.
    """
    check_encoder(encoder)
    probe_nchw = _probe(in_channels, max(pad_to, MIN_SIDE))
    try:
        network = _build(kind, in_channels, classes, encoder, depth, decoder)
        if probe_nchw.is_meta:  # only counted: without numbers nothing can be checked, loaded or found unused
            return Padded(network, in_channels, pad_to)
        expected, got = (1, classes, *probe_nchw.shape[2:]), _output_shape(network, probe_nchw)
    except Exception as error:  # encoders of many authors fail in many ways; the user needs one message
        raise EnsError(_unfit(kind, encoder, depth, min_depth, str(error).partition("\n")[0])) from error
    if got != expected:
        raise EnsError(_unfit(kind, encoder, depth, min_depth, f"its logits are {got}, not {expected}"))
    if encoder_weights is not None:
        load_encoder_weights(network.get_submodule("encoder"), encoder, encoder_weights, in_channels)
    prune_unused(network, probe_nchw)
    return Padded(network, in_channels, pad_to)


def _build(
    kind: str, in_channels: int, classes: int, encoder: str, depth: int, decoder: Mapping[str, Any]
) -> nn.Module:
    import segmentation_models_pytorch  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Encoder does not have prefix tokens")  # DPT works without them
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")  # maps without channels fail later
        network = getattr(segmentation_models_pytorch, kind)(
            encoder_name=encoder,
            encoder_depth=depth,
            encoder_weights=None,  # load_encoder_weights loads them later, because smp cannot read files
            in_channels=in_channels,
            classes=classes,
            **decoder,
        )
    if kind == "FPN":
        network.decoder.merge = SumOfMaps()
    return network


def _unfit(kind: str, encoder: str, depth: int, min_depth: int, reason: str) -> str:
    safe = "tu-vit_tiny_patch16_224" if kind == "DPT" else "resnet18"
    return (
        f"expected an encoder that {kind} can use at depth {depth}, got '{encoder}' ({reason}); "
        f"choose another depth ({min_depth} to {MAX_DEPTH}) or encoder, for example {safe}"
    )


def _probe(in_channels: int, side: int) -> Tensor:
    """Return one image whose values rise from 0 to 1, of shape (1, in_channels, side, 3 * side).

    It is not noise, because building a network must draw random numbers only for its weights. It is not square, so that
    an encoder made for one fixed size fails here and not in training.
    """
    return torch.linspace(0, 1, in_channels * side * 3 * side).reshape(1, in_channels, side, 3 * side)


def _output_shape(network: nn.Module, probe_nchw: Tensor) -> tuple[int, ...]:
    network.eval()
    with torch.no_grad():
        shape = tuple(network(probe_nchw).shape)
    network.train()
    return shape

"""Weights that an encoder starts from: ImageNet's from the hub or its local cache, or those of a file."""

from __future__ import annotations

import pickle
import re
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ensemble.core.errors import EnsError

IMAGENET = "imagenet"
TIMM = "tu-"  # smp's prefix for an encoder that timm builds
SUFFIXES = (".safetensors", ".pt", ".pth")
PATIENCE = 5  # seconds that the hub has to answer; its own client retries for half a minute
_WRAPPER = re.compile(r"^(?:(?:module|_orig_mod|model|encoder)\.)+")

State = Mapping[str, Tensor]


def load_encoder_weights(encoder: nn.Module, name: str, source: str, in_channels: int) -> None:
    """Load pretrained weights into an encoder, whatever its number of input channels.

    Args:
        encoder: as smp built it, with random weights; changed in place.
        name: of the encoder, "tu-" before those of timm.
        source: "imagenet" (the weights that smp or timm publish for this name), or a file of its state dict:
            .safetensors, or .pt/.pth with nothing but tensors.
        in_channels: of the encoder. Weights for three are summed for one (a grey image then gives what its three
            equal bands would give) and repeated and scaled by 3 / in_channels for other numbers.

    Raises:
        EnsError: the weights cannot be fetched or read, or are those of another encoder.
    """
    state = imagenet_weights(name) if source == IMAGENET else read_weights(source)
    origin = f"the ImageNet weights of '{name}'" if source == IMAGENET else str(source)
    encoder.load_state_dict(fit_weights(encoder.state_dict(), state, in_channels, origin))


def read_weights(source: str) -> State:
    """Tensors of a .safetensors file, or of a .pt/.pth file that holds a state dict (or one as "state_dict", "model").

    Raises:
        EnsError: no such file, another kind of file, or one that holds other Python objects, which are never loaded.
    """
    path = Path(str(source)).expanduser()
    if path.suffix not in SUFFIXES or not path.is_file():
        raise EnsError(
            f"expected encoder_weights to be '{IMAGENET}' or an existing file ({', '.join(SUFFIXES)}), got '{source}';"
            " give one of them or leave it out"
        )
    try:
        safe = path.suffix == ".safetensors"
        content: Any = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
        for wrapper in ("state_dict", "model"):
            content = content.get(wrapper, content)
        tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    except pickle.UnpicklingError:
        raise _unread(path, "it holds Python objects besides tensors, which are never loaded") from None
    except Exception as error:  # safetensors, zip and pickle readers raise their own
        raise _unread(path, _first_line(error)) from error
    if not tensors:
        raise _unread(path, "it holds no tensors")
    return tensors


def _unread(path: Path, reason: str) -> EnsError:
    return EnsError(f"encoder_weights: {path} cannot be read ({reason}); save the encoder's state dict as .safetensors")


def imagenet_weights(name: str) -> State:
    """The weights that smp or timm publish for an encoder of three bands, from the hub or its local cache.

    Raises:
        EnsError: they are in neither, or there are none.
    """
    answers = _hub_answers()
    try:
        with _local_files_only(not answers):
            return _published(name).state_dict()
    except Exception as error:  # the hub's client, timm and smp raise a dozen kinds
        reason = _first_line(error) if answers else "the hub does not answer, and its local cache lacks them"
        raise EnsError(
            f"encoder_weights: the ImageNet weights of '{name}' could not be fetched ({reason});"
            " give --encoder-weights PATH or leave it out"
        ) from error


def _published(name: str) -> nn.Module:
    from segmentation_models_pytorch.encoders import get_encoder  # noqa: PLC0415
    from timm import create_model  # noqa: PLC0415

    if name.startswith(TIMM):  # the complete network: timm knows where its weights go
        return create_model(name.removeprefix(TIMM), pretrained=True)
    return get_encoder(name, weights=IMAGENET)


def _hub_answers() -> bool:
    """True when any HTTP answer comes, which decides in seconds what the hub's client retries for half a minute."""
    from huggingface_hub import constants  # noqa: PLC0415

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        with urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=PATIENCE):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False


@contextmanager
def _local_files_only(local: bool) -> Generator[None]:
    """The hub's offline mode inside the block; smp and timm have no argument for it."""
    from huggingface_hub import constants  # noqa: PLC0415

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or local
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def fit_weights(wanted: State, given: State, in_channels: int, origin: str) -> dict[str, Tensor]:
    """For each key of ``wanted`` the tensor of ``given`` that belongs there.

    The prefixes ``module.``, ``model.`` and ``encoder.`` do not count, on either side; nor does how timm joins names
    when it cuts a network into stages (``stages_0`` for ``stages.0``). What is left over (a head, stages below the
    depth) is not used.

    Args:
        wanted: the encoder's own state dict.
        given: what was read.
        in_channels: of the encoder.
        origin: of ``given``, for messages.

    Raises:
        EnsError: naming the first key that is missing or has another shape.
    """
    bare = {_WRAPPER.sub("", key): tensor for key, tensor in given.items()}
    fitted: dict[str, Tensor] = {}
    for key, own in wanted.items():
        name = _WRAPPER.sub("", key)
        found = next((bare[spelling] for spelling in _spellings(name) if spelling in bare), None)
        if found is None and name.endswith("num_batches_tracked"):  # absent from files of before 2018; unused
            found = own
        if found is None:
            raise _foreign(origin, f"a tensor '{name}'", "none")
        found = _fit_bands(found, own, in_channels)
        if found.shape != own.shape:
            raise _foreign(origin, f"'{name}' of shape {tuple(own.shape)}", f"{tuple(found.shape)}")
        fitted[key] = found
    return fitted


def _foreign(origin: str, expected: str, got: str) -> EnsError:
    return EnsError(f"encoder_weights: expected {expected} in {origin}, got {got}; give weights of this very encoder")


def _spellings(name: str) -> Iterator[str]:
    """The name, then ``a.b.c`` for ``a_b.c``."""
    yield name
    head, dot, tail = name.partition(".")
    for index, letter in enumerate(head):
        if letter == "_":
            yield f"{head[:index]}.{head[index + 1 :]}{dot}{tail}"


def _fit_bands(found: Tensor, own: Tensor, in_channels: int) -> Tensor:
    """A stem for three bands as one for ``in_channels``; any other tensor as it is."""
    if not (found.ndim == own.ndim == 4 and found.shape[1] == 3 and own.shape[1] == in_channels != 3):
        return found
    from timm.models import adapt_input_conv  # noqa: PLC0415

    return adapt_input_conv(in_channels, found)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__

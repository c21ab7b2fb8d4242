"""Load the weights that an encoder starts from: of ImageNet (the hub or its cache), of a package, or of a file."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor, nn

from ensemble.architectures.packaged import PREFIX, find_package
from ensemble.architectures.weights_file import WEIGHT_SUFFIXES, is_weights_file, read_tensors
from ensemble.core.errors import EnsError

IMAGENET = "imagenet"
TIMM = "tu-"  # smp's prefix for an encoder that timm builds
PATIENCE = 5  # seconds to wait for the hub; its own client retries for half a minute
_WRAPPER = re.compile(r"^(?:(?:module|_orig_mod|model|encoder)\.)+")

State = Mapping[str, Tensor]


def load_encoder_weights(encoder: nn.Module, name: str, source: str, in_channels: int) -> None:
    """Load pretrained weights into an encoder with any number of input channels.

    Args:
        encoder: encoder as smp built it, with random weights; changed in place.
        name: name of the encoder; those of timm begin with "tu-".
        source: "imagenet" (the weights that smp or timm publish for this name), "package:" and a name of `PACKAGES`,
            or a file of the encoder's state dict: .safetensors, or .pt/.pth with nothing but tensors.
        in_channels: input channels of the encoder. For one channel, weights for three channels are summed, so a grey
            image gives what its three equal bands would give. For other numbers they are repeated and scaled by
            3 / in_channels.

    Raises:
        EnsError: when the weights cannot be fetched or read, or belong to another encoder.
    """
    origin = f"the ImageNet weights of '{name}'" if source == IMAGENET else str(source)
    encoder.load_state_dict(fit_weights(encoder.state_dict(), _state(name, source), in_channels, origin))


def check_encoder_weights(source: str | None, encoder: str | None) -> None:
    """Raise an error if weights cannot be had, as far as that can be known without reading them or asking the hub.

    Args:
        source: see `load_encoder_weights`; None for random weights.
        encoder: name of the encoder, or None if it is not known.

    Raises:
        EnsError: there is no such file, the package is not installed or damaged, or it belongs to another encoder.
    """
    if source is None or source == IMAGENET:
        return
    if not source.startswith(PREFIX):
        _file(source)
        return
    package = find_package(source)
    if encoder is not None:
        package.check_encoder(encoder)
    package.find()


def _state(name: str, source: str) -> State:
    if source == IMAGENET:
        return imagenet_weights(name)
    if not source.startswith(PREFIX):
        return read_weights(source)
    package = find_package(source)
    package.check_encoder(name)
    return package.timm_names(read_weights(str(package.find())))


def read_weights(source: str) -> State:
    """Return the tensors of a .safetensors file, or of a .pt/.pth file that holds a state dict.

    The state dict may also stand under the key "state_dict" or "model".

    Raises:
        EnsError: when the file does not exist, is of another kind, or holds other Python objects, which are never
            loaded.
    """
    return read_tensors(_file(source), "encoder_weights: ", "save the encoder's state dict as .safetensors")


def _file(source: str) -> Path:
    path = Path(str(source)).expanduser()
    if not is_weights_file(path):
        raise EnsError(
            f"expected encoder_weights to be '{IMAGENET}', {PREFIX}NAME or an existing file"
            f" ({', '.join(WEIGHT_SUFFIXES)}), got '{source}'; give one of them, or leave encoder_weights out"
        )
    return path


def imagenet_weights(name: str) -> State:
    """Return the weights that smp or timm publish for an encoder of three bands, from the hub or its local cache.

    Raises:
        EnsError: when the weights are in neither place, or do not exist.
    """
    answers = _hub_answers()
    try:
        with _local_files_only(not answers):
            return _published(name).state_dict()
    except Exception as error:  # the hub's client, timm and smp raise a dozen kinds
        reason = _first_line(error) if answers else "the hub does not answer, and its local cache lacks them"
        raise EnsError(
            f"encoder_weights: the ImageNet weights of '{name}' could not be fetched ({reason});"
            " give the path of a file, or leave encoder_weights out"
        ) from error


def _published(name: str) -> nn.Module:
    from segmentation_models_pytorch.encoders import get_encoder  # noqa: PLC0415
    from timm import create_model  # noqa: PLC0415

    if name.startswith(TIMM):  # the complete network, because timm knows where its weights belong
        return create_model(name.removeprefix(TIMM), pretrained=True)
    return get_encoder(name, weights=IMAGENET)


def _hub_answers() -> bool:
    """Return whether the hub sends any HTTP answer.

    This takes a few seconds at most, while the hub's own client retries for half a minute.
    """
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
    """Switch the hub's offline mode on inside the block, if ``local``; smp and timm have no argument for it."""
    from huggingface_hub import constants  # noqa: PLC0415

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or local
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def fit_weights(wanted: State, given: State, in_channels: int, origin: str) -> dict[str, Tensor]:
    """Return, for each key of ``wanted``, the tensor of ``given`` that belongs there.

    The prefixes ``module.``, ``model.`` and ``encoder.`` are ignored on both sides. So is the way in which timm joins
    names when it cuts a network into stages (``stages_0`` for ``stages.0``). Tensors that no key asks for (a head,
    stages below the depth) are not used.

    Args:
        wanted: state dict of the encoder.
        given: tensors that were read.
        in_channels: input channels of the encoder.
        origin: where ``given`` comes from, for messages.

    Raises:
        EnsError: when a key is missing or has another shape; the message names the first one.
    """
    bare = {_WRAPPER.sub("", key): tensor for key, tensor in given.items()}
    fitted: dict[str, Tensor] = {}
    for key, own in wanted.items():
        name = _WRAPPER.sub("", key)
        tensor = next((bare[spelling] for spelling in _spellings(name) if spelling in bare), None)
        if tensor is None and name.endswith("num_batches_tracked"):  # absent from files written before 2018; unused
            tensor = own
        if tensor is None:
            raise _foreign(origin, f"a tensor '{name}'", "no such tensor")
        tensor = _fit_bands(tensor, own, in_channels)
        if tensor.shape != own.shape:
            raise _foreign(origin, f"'{name}' of shape {tuple(own.shape)}", f"{tuple(tensor.shape)}")
        fitted[key] = tensor
    return fitted


def _foreign(origin: str, expected: str, got: str) -> EnsError:
    return EnsError(f"encoder_weights: expected {expected} in {origin}, got {got}; give weights of the same encoder")


def _spellings(name: str) -> Iterator[str]:
    """Yield the name, and then ``a.b.c`` for ``a_b.c``."""
    yield name
    head, dot, tail = name.partition(".")
    for index, letter in enumerate(head):
        if letter == "_":
            yield f"{head[:index]}.{head[index + 1 :]}{dot}{tail}"


def _fit_bands(tensor: Tensor, own: Tensor, in_channels: int) -> Tensor:
    """Adapt a first convolution for three bands to ``in_channels``; return any other tensor as it is."""
    if not (tensor.ndim == own.ndim == 4 and tensor.shape[1] == 3 and own.shape[1] == in_channels != 3):
        return tensor
    from timm.models import adapt_input_conv  # noqa: PLC0415

    return adapt_input_conv(in_channels, tensor)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__

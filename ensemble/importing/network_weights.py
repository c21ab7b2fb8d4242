"""Fit the weights of a file to a network: the same tensors under the same names, except for wrappers around them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import torch
from torch import Tensor, nn

from ensemble.architectures import is_weights_file, read_tensors
from ensemble.core.errors import EnsError
from ensemble.core.formatting import counted

State = Mapping[str, Tensor]
SHOWN = 3  # names of tensors in an error
_WRAPPERS = re.compile(r"^(?:(?:module|_orig_mod|model|network|net|body)\.)+")
_OF_OURS = ("mean_c", "std_c")  # what a file of this toolkit holds besides its network
_ADVICE = "save `network.state_dict()` by torch.save or as .safetensors"


@dataclass(frozen=True)
class Weights:
    """Tensors of one file.

    Attributes:
        path: the file.
        state: its tensors by name.
        mean_c: mean of the pixels of each band, which files of this toolkit hold; else None.
        std_c: standard deviation of each band; else None.
    """

    path: Path
    state: State
    mean_c: Tensor | None = None
    std_c: Tensor | None = None


def read_weights(path: Path) -> Weights:
    """Read a file of weights; nothing in it is run.

    Raises:
        EnsError: it does not exist, is of another kind, holds Python objects, or weights that are not finite.
    """
    if not is_weights_file(path):
        raise EnsError(f"expected an existing file of weights (.pth, .pt or .safetensors), got {path}; check the path")
    state = read_tensors(path, advice=_ADVICE)
    bad = next((name for name, tensor in state.items() if not torch.isfinite(tensor).all()), None)
    if bad is not None:
        raise EnsError(f"{path} holds NaN or infinity in '{bad}', so its training failed; give weights that are finite")
    if not set(_OF_OURS) <= set(state):
        return Weights(path, state)
    body = {name: tensor for name, tensor in state.items() if name not in _OF_OURS}
    return Weights(path, body, *(state[name].flatten() for name in _OF_OURS))


def fit_weights(network: nn.Module, weights: Weights, architecture: str, wanted: str) -> None:
    """Load the weights of a file into a network.

    Wrappers are ignored on both sides: ``module.`` of data-parallel training, ``model.``, ``network.`` and the like,
    and any other prefix that all names share. Counters of batches, which files written before 2018 lack and which no
    prediction uses, may be missing.

    Args:
        network: the network; changed in place.
        weights: the weights.
        architecture: the architecture in the user's words, for messages.
        wanted: what the data ask of it, such as ``3 bands and 4 classes``, for messages.

    Raises:
        EnsError: missing or unexpected tensors, or other shapes; the text names a few of them.
    """
    own, given = network.state_dict(), weights.state
    missing, unexpected, found = min(
        (_compared(rename(own), rename(given)) for rename in (_as_it_is, _unwrapped, _without_prefix)),
        key=lambda one: len(one[0]) + len(one[1]),
    )
    advice = f"choose the architecture and the options that it was trained with; the data ask for {wanted}"
    if missing or unexpected:
        kinds = (("missing", missing), ("unexpected", unexpected))
        parts = ", ".join(f"{kind} {_some(names)}" for kind, names in kinds if names)
        raise EnsError(f"{weights.path} does not fit {architecture}: {parts}; {advice}")
    shapes = [(mine, own[mine].shape, given[theirs].shape) for mine, theirs in found.items()]
    others = [shape for shape in shapes if shape[1] != shape[2]]
    if others:
        name, expected, got = others[0]
        more = f" (and {counted(len(others) - 1, 'other tensor')})" if len(others) > 1 else ""
        raise EnsError(
            f"{weights.path} does not fit {architecture}: expected '{name}' of shape {tuple(expected)}, got"
            f" {tuple(got)}{more}; {advice}"
        )
    network.load_state_dict({name: given[found[name]] if name in found else tensor for name, tensor in own.items()})


def _compared(own: Mapping[str, str], given: Mapping[str, str]) -> tuple[list[str], list[str], dict[str, str]]:
    """Return what is missing and what is unexpected, and the name in the file of each tensor of the network."""
    missing = [full for bare, full in own.items() if bare not in given and not bare.endswith("num_batches_tracked")]
    unexpected = [full for bare, full in given.items() if bare not in own]
    return missing, unexpected, {full: given[bare] for bare, full in own.items() if bare in given}


def _as_it_is(names: Collection[str]) -> dict[str, str]:
    return {name: name for name in names}


def _unwrapped(names: Collection[str]) -> dict[str, str]:
    """Return the full name of each name without wrappers, unless two would then be the same."""
    bare = {_WRAPPERS.sub("", name): name for name in names}
    return bare if len(bare) == len(names) else _as_it_is(names)


def _without_prefix(names: Collection[str]) -> dict[str, str]:
    """Return the full name of each unwrapped name without the prefix that all share, up to a dot."""
    bare = _unwrapped(names)
    parts = [name.split(".")[:-1] for name in bare]
    shared = [same[0] for same in takewhile(lambda level: len(set(level)) == 1, zip(*parts, strict=False))]
    return {name.removeprefix("".join(f"{part}." for part in shared)): full for name, full in bare.items()}


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    return f"{counted(len(names), 'tensor')} ({shown})"


def check_network(run: Callable[[Tensor], object], images_nchw: Tensor, outputs: int, architecture: str) -> None:
    """Run a network on images and check what comes out, before anything relies on it.

    Args:
        run: the network.
        images_nchw: what it sees of some images.
        outputs: number of output channels that it should have.
        architecture: the architecture in the user's words, for messages.

    Raises:
        EnsError: it fails, or does not return finite logits of the size of the images.
    """
    size = "x".join(map(str, images_nchw.shape[2:]))
    advice = "wrap it in its factory, as architectures/README.md shows, or give input_size if it knows only one size"
    try:
        with torch.inference_mode():
            found = run(images_nchw)
    except EnsError:
        raise
    except Exception as error:  # the code of a user fails in any way
        reason = str(error).partition("\n")[0]
        raise EnsError(
            f"{architecture} fails on an image of {size} pixels ({type(error).__name__}: {reason}), but images have any"
            f" size; {advice}"
        ) from error
    expected = (len(images_nchw), outputs, *images_nchw.shape[2:])
    if not isinstance(found, Tensor) or tuple(found.shape) != expected:
        got = f"the shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise EnsError(f"expected logits of shape {expected} from {architecture}, got {got}; {advice}")
    if not torch.isfinite(found).all():
        raise EnsError(
            f"{architecture} gives NaN or infinity with these weights; check mean and std, the options of the"
            " architecture and the file"
        )

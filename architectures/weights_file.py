"""Read the tensors of a file of weights: safetensors, or torch's own format with nothing but tensors in it."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch import Tensor

from ensemble.core.errors import EnsError

WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth")
_WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net")  # keys under which programs keep a state dict


def is_weights_file(path: Path) -> bool:
    """Return whether a path is an existing file with the name of a file of weights."""
    # Path.is_file raises for names that are too long.
    return path.suffix.lower() in WEIGHT_SUFFIXES and os.path.isfile(path)  # noqa: PTH113


def read_tensors(
    path: Path, subject: str = "", advice: str = "save the state dict as .safetensors"
) -> dict[str, Tensor]:
    """Return the tensors of a state dict by name.

    The state dict may also stand under a key such as "state_dict" or "model". Other Python objects are never loaded.

    Args:
        path: a file for which `is_weights_file` is true.
        subject: what stands before the path in an error, such as ``encoder_weights: ``.
        advice: what to do if the file cannot be read.

    Raises:
        EnsError: when the file is damaged, or holds other Python objects or no tensors.
    """
    try:
        safe = path.suffix.lower() == ".safetensors"
        content: Any = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
        reason = "" if isinstance(content, Mapping) else f"it holds an object of the type {type(content).__name__}"
    except pickle.UnpicklingError:
        content, reason = {}, "it holds Python objects besides tensors, which are never loaded"
    except Exception as error:  # the readers of safetensors, zip and pickle raise errors of many kinds
        said = str(error).partition("\n")[0]
        content, reason = {}, said if " " in said else "it is no file of weights, or it is damaged"
    tensors = _tensors(cast("Mapping[Any, Any]", content)) if not reason else {}
    if not tensors:
        raise EnsError(f"{subject}{path} cannot be read ({reason or 'it holds no tensors'}); {advice}")
    return tensors


def _tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        inner = content.get(wrapper)
        if isinstance(inner, Mapping):
            content = cast("Mapping[Any, Any]", inner)
    return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}

"""Step 7 of training: one checkpoint file per fold, written atomically and read with ``weights_only=True``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor

from ensemble.core.files import atomic, check_archive, write_bytes
from ensemble.runs.status import damaged_checkpoint


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write ``state``: tensors, numbers, texts, and lists and dicts of them.

    Raises:
        EnsError: the disk is full or the folder cannot be written; the previous checkpoint stays.
    """
    with atomic(path) as stream:
        try:
            torch.save(dict(state), stream)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # torch hides the error of the disk behind "unexpected pos"
                raise error.__context__ from None
            raise


def load_checkpoint(path: Path, device: str) -> dict[str, Any] | None:
    """Return the content of a checkpoint, or None if the file does not exist.

    Raises:
        EnsError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        check_archive(path)  # torch writes checksums but does not compare them
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # damaged zips and pickles raise many types; torch's text has many lines
        raise damaged_checkpoint(path, error) from None


def save_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write a state dict as safetensors; weights that layers share are written for each of them."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    seen = set[int]()
    for name, tensor in weights.items():
        if tensor.untyped_storage().data_ptr() in seen:
            weights[name] = tensor.clone()  # the format refuses shared memory
        seen.add(tensor.untyped_storage().data_ptr())
    write_bytes(path, save_safetensors(weights))

"""Control what decides the bits of a run in addition to its settings: random states, mode, environment."""

from __future__ import annotations

import os
import random
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from ensemble.core.errors import EnsError
from ensemble.core.files import read_json
from ensemble.runs.layout import ENVIRONMENT

NOT_DETERMINISTIC = " does not have a deterministic implementation"


def seed_everything(seed: int) -> None:
    """Seed torch on every device, NumPy and Python; networks and losses of plug-ins may draw from any of them."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def random_states(device: str) -> dict[str, Any]:
    """Return the random states that ``seed_everything`` sets, as tensors, numbers and tuples of them."""
    name, keys, *rest = np.random.get_state(legacy=True)
    states = {
        "torch": torch.get_rng_state(),
        "numpy": (str(name), torch.from_numpy(np.asarray(keys, np.int64)), *rest),
        "python": random.getstate(),
    }
    return states if device == "cpu" else states | {device: torch.get_device_module(device).get_rng_state()}


def restore_random_states(states: Mapping[str, Any], device: str) -> None:
    """Set the random states to the result of ``random_states``."""
    torch.set_rng_state(states["torch"].cpu())
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))
    random.setstate(states["python"])
    if device != "cpu":
        torch.get_device_module(device).set_rng_state(states[device].cpu())


@contextmanager
def deterministic(enabled: bool, device: str) -> Generator[None]:
    """If ``enabled``, let torch run only operations that give the same bits every time.

    Raises:
        EnsError: the network or the loss needs an operation without a deterministic implementation on ``device``.
    """
    if not enabled:
        yield
        return
    backends = torch.backends
    before = torch.get_deterministic_debug_mode(), backends.cudnn.benchmark, bool(backends.mkldnn.deterministic)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS may sum in any order
    _set_mode("error", False, True)  # use_deterministic_algorithms would also import the compiler (2 s)
    try:
        yield
    except RuntimeError as error:
        operation, separator, _ = str(error).partition(NOT_DETERMINISTIC)
        if not separator:
            raise
        raise EnsError(
            f"this network or loss needs {operation}, which has no deterministic implementation on {device};"
            " leave out deterministic, or choose another network or loss"
        ) from None
    finally:
        _set_mode(*before)


def _set_mode(debug_mode: int | str, benchmark: bool, mkldnn: bool) -> None:
    torch.set_deterministic_debug_mode(debug_mode)
    torch.backends.cudnn.benchmark = benchmark
    torch.backends.mkldnn.deterministic = mkldnn


def stored_environment(path: Path) -> dict[str, Any]:
    """Return the content of a member's ``environment.json``; empty if it is missing or damaged (no result needs it)."""
    try:
        content = read_json(path / ENVIRONMENT)
    except EnsError:
        return {}
    return cast(dict[str, Any], content) if isinstance(content, dict) else {}


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the differences of two environments by name: the values then and now; packages count one by one.

    >>> differences({"cpu": "A", "packages": {"torch": "2.9"}}, {"cpu": "A", "packages": {"torch": "2.10"}})
    {'torch': ('2.9', '2.10')}
    """
    old, new = ({**one, **(one.get("packages") or {})} for one in (then, now))
    names = [name for name in {**old, **new} if name != "packages"]
    return {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}

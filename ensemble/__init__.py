"""Ensembles for semantic segmentation: train members independently, combine them, judge them honestly.

>>> import ensemble
>>> member = ensemble.train("mars.npz", arch="unet", loss="ce")  # doctest: +SKIP
>>> done = ensemble.combine(method="learned")  # doctest: +SKIP
>>> probabilities = ensemble.load(done.ensemble.path)(images)  # doctest: +SKIP
>>> table = ensemble.results.load("runs")  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ensemble import results
    from ensemble.api import combine, combine_all, load, train
    from ensemble.errors import EnsError
    from ensemble.importing import import_member
    from ensemble.plugins import load_plugin
    from ensemble.pool.explain import explain

__all__ = ["EnsError", "combine", "combine_all", "explain", "import_member", "load", "load_plugin", "results", "train"]

_HOMES = {
    "combine": "ensemble.api",
    "combine_all": "ensemble.api",
    "load": "ensemble.api",
    "train": "ensemble.api",
    "EnsError": "ensemble.errors",
    "explain": "ensemble.pool.explain",
    "import_member": "ensemble.importing",
    "load_plugin": "ensemble.plugins",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that ``import ensemble`` and ``ens --help`` load neither torch nor pandas."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name == "results":
        return importlib.import_module("ensemble.results")
    raise AttributeError(f"module 'ensemble' has no attribute '{name}'")

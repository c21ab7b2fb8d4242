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
    from ensemble.comparison import compare_runs, factor_effect, power
    from ensemble.core.errors import EnsError
    from ensemble.explain.explain import explain
    from ensemble.importing import import_member
    from ensemble.plugins import load_plugin
    from ensemble.report.page import write_report
    from ensemble.runs.verify import verify
    from ensemble.study import read_recipe, run_study
    from ensemble.tracking import track
    from ensemble.training.reproduce import reproduce

__all__ = [
    "EnsError",
    "combine",
    "combine_all",
    "compare_runs",
    "explain",
    "factor_effect",
    "import_member",
    "load",
    "load_plugin",
    "power",
    "read_recipe",
    "reproduce",
    "results",
    "run_study",
    "track",
    "train",
    "verify",
    "write_report",
]

_HOMES = {
    "combine": "ensemble.api",
    "combine_all": "ensemble.api",
    "load": "ensemble.api",
    "train": "ensemble.api",
    "EnsError": "ensemble.core.errors",
    "compare_runs": "ensemble.comparison",
    "factor_effect": "ensemble.comparison",
    "power": "ensemble.comparison",
    "explain": "ensemble.explain.explain",
    "import_member": "ensemble.importing",
    "load_plugin": "ensemble.plugins",
    "read_recipe": "ensemble.study",
    "reproduce": "ensemble.training.reproduce",
    "run_study": "ensemble.study",
    "track": "ensemble.tracking",
    "verify": "ensemble.runs.verify",
    "write_report": "ensemble.report.page",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that ``import ensemble`` and ``ens --help`` load neither torch nor pandas."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name == "results":
        return importlib.import_module("ensemble.results")
    raise AttributeError(f"module 'ensemble' has no attribute '{name}'")

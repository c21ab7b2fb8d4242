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

from ensemble.core.garbage import uncollected

if TYPE_CHECKING:
    from ensemble import results
    from ensemble.combining.combine import combine
    from ensemble.combining.compare_methods import combine_all
    from ensemble.comparison import compare_runs, factor_effect, power
    from ensemble.core.errors import EnsError
    from ensemble.explanation.explain import explain
    from ensemble.export.distil import distil
    from ensemble.export.export_model import export_model
    from ensemble.export.make_bundle import bundle
    from ensemble.export.pack import pack
    from ensemble.export.refit import refit
    from ensemble.importing.import_member import import_member
    from ensemble.importing.import_network import import_network
    from ensemble.inference.evaluate import evaluate
    from ensemble.inference.load import load
    from ensemble.inference.member_costs import measure_budget
    from ensemble.inference.write_masks import predict
    from ensemble.plugins import load_plugin
    from ensemble.report.check_data import check_data
    from ensemble.report.label_next import label_next
    from ensemble.report.page import write_report
    from ensemble.runs.ensemble_dir import Ensemble
    from ensemble.runs.member import Member
    from ensemble.runs.remove import remove
    from ensemble.runs.verify import verify
    from ensemble.study import read_recipe, run_study
    from ensemble.study.tuning import tune
    from ensemble.tracking import track
    from ensemble.training.reproduce import reproduce
    from ensemble.training.train import train

# The public interface: each name and the module that defines it. Nothing is imported before it is used, so that
# `import ensemble` and `ens --help` load neither torch nor pandas.
_HOMES = {
    "EnsError": "ensemble.core.errors",
    "Ensemble": "ensemble.runs.ensemble_dir",
    "Member": "ensemble.runs.member",
    "bundle": "ensemble.export.make_bundle",
    "check_data": "ensemble.report.check_data",
    "combine": "ensemble.combining.combine",
    "combine_all": "ensemble.combining.compare_methods",
    "compare_runs": "ensemble.comparison",
    "distil": "ensemble.export.distil",
    "evaluate": "ensemble.inference.evaluate",
    "explain": "ensemble.explanation.explain",
    "export_model": "ensemble.export.export_model",
    "factor_effect": "ensemble.comparison",
    "import_member": "ensemble.importing.import_member",
    "import_network": "ensemble.importing.import_network",
    "label_next": "ensemble.report.label_next",
    "load": "ensemble.inference.load",
    "load_plugin": "ensemble.plugins",
    "measure_budget": "ensemble.inference.member_costs",
    "pack": "ensemble.export.pack",
    "power": "ensemble.comparison",
    "predict": "ensemble.inference.write_masks",
    "read_recipe": "ensemble.study",
    "refit": "ensemble.export.refit",
    "remove": "ensemble.runs.remove",
    "reproduce": "ensemble.training.reproduce",
    "results": "ensemble.results",
    "run_study": "ensemble.study",
    "track": "ensemble.tracking",
    "train": "ensemble.training.train",
    "tune": "ensemble.study.tuning",
    "verify": "ensemble.runs.verify",
    "write_report": "ensemble.report.page",
}

__all__ = [
    "EnsError",
    "Ensemble",
    "Member",
    "bundle",
    "check_data",
    "combine",
    "combine_all",
    "compare_runs",
    "distil",
    "evaluate",
    "explain",
    "export_model",
    "factor_effect",
    "import_member",
    "import_network",
    "label_next",
    "load",
    "load_plugin",
    "measure_budget",
    "pack",
    "power",
    "predict",
    "read_recipe",
    "refit",
    "remove",
    "reproduce",
    "results",
    "run_study",
    "track",
    "train",
    "tune",
    "verify",
    "write_report",
]


def __dir__() -> list[str]:
    """Return the public names, so that completion finds them before their first use."""
    return sorted({*(name for name in globals() if name.startswith("__")), *__all__})


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ensemble' has no attribute '{name}'")
    with uncollected():
        module = importlib.import_module(_HOMES[name])
    return module if name == "results" else getattr(module, name)

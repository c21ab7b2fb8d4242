"""Train the members of a recipe, make its ensembles, and compare all of them in one table."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ensemble.study.recipe import Recipe, read_recipe, shipped_recipes
    from ensemble.study.run import StudyResult, run_study

__all__ = ["Recipe", "StudyResult", "read_recipe", "run_study", "shipped_recipes"]

_HOMES = {
    "Recipe": "recipe",
    "StudyResult": "run",
    "read_recipe": "recipe",
    "run_study": "run",
    "shipped_recipes": "recipe",
}


def __getattr__(name: str) -> Any:
    """Import on first use: the process that watches a member on a node of a cluster needs neither pandas nor torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

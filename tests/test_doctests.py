"""Every example in a docstring runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import ensemble

FOR_REVIEWERS = (
    "ensemble.export.reviewer."  # programs that run where this package is not, see tests/export/test_pack.py
)
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(ensemble.__path__, "ensemble.")
    if not module.name.startswith(FOR_REVIEWERS)
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_of(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    examples = [test for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples]
    assert len(examples) >= 20
    assert {"ensemble.losses.dice", "ensemble.config", "ensemble.combining.pool"} <= set(MODULES)

"""The registry of combiners: ``factory(fit_data, *, options) -> Combiner``, the simplest first."""

from __future__ import annotations

from inspect import Parameter
from itertools import product
from typing import Any, Literal, get_args, get_origin

from ensemble.combining.combiner import Combiner
from ensemble.core.component_text import ComponentCall, format_component
from ensemble.core.errors import EnsError
from ensemble.core.registry import Registry

COMBINERS: Registry[Combiner] = Registry("method")

FIT_ERRORS = (ArithmeticError, ValueError)
"""What a fit raises on data that it cannot handle: our errors, and those of the linear algebra of NumPy and SciPy."""


def check_least(method: str, least: int, **options: float) -> None:
    """Refuse options of a method that are below their smallest value.

    Raises:
        EnsError: an option is smaller than ``least``, or not a number.
    """
    for name, value in options.items():
        if not value >= least:
            limit = f"at least {least}, got {value:g}; pass {least} or more"
            raise EnsError(f"expected option {name} of method '{method}' to be {limit}")


def variants() -> list[ComponentCall]:
    """Return every method with every value of its options that are a choice, defaults first.

    A method is left out if the user has to give one of its options: one without a default, or with an empty tuple as
    the default.
    """
    calls: list[ComponentCall] = []
    for name in COMBINERS:
        options = COMBINERS.options(name)
        if any(option.default in ((), Parameter.empty) for option in options.values()):
            continue
        choices = {
            key: sorted(get_args(option.annotation), key=lambda value: value != option.default)
            for key, option in options.items()
            if get_origin(option.annotation) is Literal
        }
        calls += [ComponentCall(name, dict(zip(choices, values, strict=True))) for values in product(*choices.values())]
    return calls


def title(method: str, options: dict[str, Any]) -> str:
    """Return a method with the options that differ from the defaults: ``geometric(exponents=learned)``."""
    known = COMBINERS.options(method)
    return format_component(method, {key: value for key, value in options.items() if value != known[key].default})

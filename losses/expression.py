"""The text form of weighted sums of losses: ``0.5*dice + 0.5*focal(gamma=1.5)``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn

from ensemble.core.component_text import check_brackets, format_component, parse_given, split_sum
from ensemble.core.errors import EnsError
from ensemble.core.registry import Registry
from ensemble.losses.registry import LOSSES

_NUMBER = r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|nan|inf)"
_TERM = re.compile(rf"(?:(?P<coefficient>{_NUMBER})\s*\*\s*)?(?P<component>[A-Za-z][\w-]*\s*(?:\(.*\))?)", re.DOTALL)


class Term(NamedTuple):
    """One summand: a finite coefficient >= 0, the name of a registered loss, and the options that the text gives."""

    coefficient: float
    name: str
    options: dict[str, Any]


def parse_sum(expression: str, registry: Registry[nn.Module] = LOSSES) -> tuple[Term, ...]:
    """Return the terms of an expression in its order; a term that comes twice has its coefficients added.

    Raises:
        EnsError: an empty or garbled expression, a coefficient that is negative or not finite, only zeros, a value of
            a wrong type, or one loss twice with different options.
        UnknownName: a loss or an option that is not registered.

    >>> parse_sum("0.5*dice + ce(smoothing=0.1)")
    (Term(coefficient=0.5, name='dice', options={}), Term(coefficient=1.0, name='ce', options={'smoothing': 0.1}))
    """
    terms: dict[str, Term] = {}
    check_brackets(expression)
    for text in split_sum(expression):
        match = _TERM.fullmatch(text)
        if match is None:
            place = f" (from '{text}')" if text and text != expression.strip() else ""
            raise EnsError(
                f"expected a loss or a weighted sum such as '0.5*dice + 0.5*weighted-ce', got '{expression}'{place};"
                " write coefficient*name(option=value) joined by +"
            )
        name, options = parse_given(match["component"], registry)
        coefficient = float(match["coefficient"] or 1.0)
        if not 0.0 <= coefficient < math.inf:
            raise EnsError(
                f"expected a finite coefficient >= 0 before '{name}', got {match['coefficient']} in '{expression}'; "
                "write for example 0.5*dice + 0.5*weighted-ce"
            )
        before = terms.setdefault(name, Term(0.0, name, options))
        if before.options != options:
            raise EnsError(f"the loss '{name}' is in '{expression}' twice with different options; keep one of the two")
        terms[name] = before._replace(coefficient=before.coefficient + coefficient)
    if not any(term.coefficient for term in terms.values()):
        raise EnsError(f"expected a coefficient above 0, got only zeros in '{expression}'; write for example 0.5*dice")
    return tuple(terms.values())


def canonical(terms: Sequence[Term]) -> str:
    """Return the one form in which a sum is stored, without options: ``0.5*dice + ce``."""
    return " + ".join(_coefficient_text(term) + term.name for term in terms)


def loss_text(name: str, options: Mapping[str, Any]) -> str:
    """Return the text of a loss with further options, in the form in which `ensemble.losses.check_loss` stores them.

    >>> loss_text("0.5*dice + focal", {"focal.gamma": 1.5})
    '0.5*dice + focal(gamma=1.5)'
    """
    terms = parse_sum(name)
    by_term = options_by_term(terms, options)
    return " + ".join(_coefficient_text(term) + format_component(term.name, by_term[term.name]) for term in terms)


def options_by_term(terms: Sequence[Term], options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the options of each term: those in its text and those in ``options``, as they are stored.

    Args:
        terms: terms of one expression.
        options: ``key`` for a single loss, ``term.key`` for a sum.

    Raises:
        EnsError: a key that names no term.
    """
    by_term = {term.name: dict(term.options) for term in terms}
    for key, value in options.items():
        name, dot, option = key.partition(".")
        name, option = (name, option) if dot else (terms[0].name, key)
        if name not in by_term or (not dot and len(terms) > 1):
            raise EnsError(f"expected options as term.option for '{canonical(terms)}', got '{key}'; name its term")
        by_term[name][option] = value
    return by_term


def _coefficient_text(term: Term) -> str:
    return "" if term.coefficient == 1.0 else f"{term.coefficient!r}".removesuffix(".0") + "*"

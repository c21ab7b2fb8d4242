"""The text form of weighted sums of losses: ``0.5*dice + 0.5*weighted-ce``."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.registry import Registry
from ensemble.losses.registry import LOSSES

_NUMBER = r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|nan|inf)"
_TERM = re.compile(rf"\s*(?:(?P<coefficient>{_NUMBER})\s*\*\s*)?(?P<name>[A-Za-z][\w-]*)\s*(?P<end>\+|$)")


class Term(NamedTuple):
    """One summand: a finite coefficient >= 0 and the name of a registered loss."""

    coefficient: float
    name: str


def parse_sum(expression: str, registry: Registry[nn.Module] = LOSSES) -> tuple[Term, ...]:
    """Terms of an expression, in its order; a name that comes twice has its coefficients added.

    Raises:
        EnsError: an empty or garbled expression, a coefficient that is negative or not finite, or only zeros.
        UnknownName: a name that is no registered loss.

    >>> parse_sum("0.5*dice + ce")
    (Term(coefficient=0.5, name='dice'), Term(coefficient=1.0, name='ce'))
    """
    coefficients: dict[str, float] = {}
    position, end = 0, "+"
    while end == "+":
        match = _TERM.match(expression, position)
        if match is None:
            raise EnsError(
                f"expected a loss or a weighted sum such as '0.5*dice + 0.5*weighted-ce', got '{expression}'"
                f"{_where(expression, position)}; write coefficient*name joined by +"
            )
        name, coefficient = match["name"], float(match["coefficient"] or 1.0)
        if name not in registry:
            raise UnknownName(registry.kind, name, registry)
        if not 0.0 <= coefficient < math.inf:
            raise EnsError(
                f"expected a finite coefficient >= 0 before '{name}', got {match['coefficient']} in '{expression}'; "
                "write for example 0.5*dice + 0.5*weighted-ce"
            )
        coefficients[name] = coefficients.get(name, 0.0) + coefficient
        position, end = match.end(), match["end"]
    if not any(coefficients.values()):
        raise EnsError(f"expected a coefficient above 0, got only zeros in '{expression}'; write for example 0.5*dice")
    return tuple(Term(coefficient, name) for name, coefficient in coefficients.items())


def canonical(terms: Sequence[Term]) -> str:
    """The one way of writing terms: ``0.5*dice + ce``; parses back to the same terms."""

    def text(term: Term) -> str:
        return term.name if term.coefficient == 1.0 else f"{term.coefficient!r}".removesuffix(".0") + f"*{term.name}"

    return " + ".join(text(term) for term in terms)


def _where(expression: str, position: int) -> str:
    rest = expression[position:].strip()
    return f" (from '{rest}')" if rest and position else ""

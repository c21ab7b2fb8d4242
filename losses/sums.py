"""Weighted sums of registered losses, written as ``0.5*dice + 0.5*focal(gamma=1.5)``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ensemble.core.registry import Registry
from ensemble.losses.expression import canonical, options_by_term, parse_sum
from ensemble.losses.registry import LOSSES


class WeightedSum(nn.Module):
    """Sum of coefficient x loss.

    Args:
        coefficients: finite numbers >= 0.
        terms: loss modules, as many.
    """

    def __init__(self, coefficients: Sequence[float], terms: Sequence[nn.Module]) -> None:
        super().__init__()
        self.coefficients = tuple(coefficients)
        self.terms = nn.ModuleList(terms)

    def forward(self, logits_nchw: Tensor, labels_nhw: Tensor) -> Tensor:
        """Return the scalar loss of logits (n, c, h, w) and int64 labels (n, h, w) with 255 = void."""
        values = [c * term(logits_nchw, labels_nhw) for c, term in zip(self.coefficients, self.terms, strict=True)]
        return torch.stack(values).sum()

    def extra_repr(self) -> str:
        """Return the coefficients as text."""
        return f"coefficients={self.coefficients}"


def check_loss(expression: str, *, registry: Registry[nn.Module] = LOSSES) -> tuple[str, dict[str, Any]]:
    """Validate a loss without data and return the one form in which it is stored and hashed.

    Args:
        expression: a loss or a weighted sum, such as ``0.5*dice + 0.5*focal(gamma=1.5)``; the default coefficient is 1.
        registry: where names are looked up.

    Returns:
        the sum without options (``0.5*dice + 0.5*focal``; the order is kept, a plain name stays as it is) and the
        given options, typed: ``key`` for a single loss, ``term.key`` for a sum.

    Raises:
        EnsError: see ``parse_sum``; also a value out of range.
        UnknownName: a loss or an option that is not registered.

    >>> check_loss(".5*dice(smooth=1)+0.50*ce")
    ('0.5*dice + 0.5*ce', {'dice.smooth': 1.0})
    """
    terms = parse_sum(expression, registry)
    for term in terms:
        registry.create(term.name, torch.ones(2), **term.options)  # the factories themselves check the ranges
    if len(terms) == 1:
        return canonical(terms), dict(sorted(terms[0].options.items()))
    return canonical(terms), {f"{t.name}.{key}": value for t in terms for key, value in sorted(t.options.items())}


def build_loss(
    expression: str,
    counts_c: Tensor,
    options: Mapping[str, Any] | None = None,
    *,
    registry: Registry[nn.Module] = LOSSES,
) -> nn.Module:
    """Return the module of a loss or of a weighted sum of losses.

    Args:
        expression: see ``check_loss``.
        counts_c: labelled pixels of each output channel in the training fold, shape (c,).
        options: more options, in the form that ``check_loss`` returns.
        registry: where names are looked up.

    Returns:
        module ``(logits (n, c, h, w), labels (n, h, w)) -> scalar``.

    Raises:
        EnsError: see ``check_loss``; also counts that are no counts.

    >>> loss = build_loss("0.5*dice + 0.5*weighted-ce(cap=5)", torch.tensor([90, 10]))
    >>> loss(torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]]))
    tensor(0.5966)
    """
    terms = parse_sum(expression, registry)
    by_term = options_by_term(terms, options or {})
    modules = [registry.create(term.name, counts_c, **by_term[term.name]) for term in terms]
    if len(terms) == 1 and terms[0].coefficient == 1.0:
        return modules[0]
    return WeightedSum([term.coefficient for term in terms], modules)

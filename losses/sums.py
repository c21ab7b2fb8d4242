"""Weighted sums of registered losses, written as ``0.5*dice + 0.5*weighted-ce``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ensemble.core.errors import UnknownName
from ensemble.core.registry import Registry, convert
from ensemble.losses.expression import Term, canonical, parse_sum
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
        """Scalar loss of logits (n, c, h, w) and int64 labels (n, h, w) with 255 = void."""
        values = [c * term(logits_nchw, labels_nhw) for c, term in zip(self.coefficients, self.terms, strict=True)]
        return torch.stack(values).sum()

    def extra_repr(self) -> str:
        """The coefficients."""
        return f"coefficients={self.coefficients}"


def check_loss(
    expression: str, options: Mapping[str, Any] | None = None, *, registry: Registry[nn.Module] = LOSSES
) -> tuple[str, dict[str, Any]]:
    """Validate an expression and its options without data, and write both in the one form that is hashed.

    Args:
        expression: a name or a sum such as ``0.5*dice + 0.5*weighted-ce``; a coefficient left out is 1.
        options: texts or values. A plain ``key`` goes to every term that has the option, ``term.key`` to that term
            only, and wins.
        registry: where names are looked up.

    Returns:
        the canonical expression (order kept, ``0.5*dice + 0.5*ce``; a plain name is itself) and the options, typed:
        ``key`` for a single loss, ``term.key`` for a sum. Both can be given again and come back unchanged.

    Raises:
        EnsError: see ``parse_sum``; also an option's value of a wrong type or out of range.
        UnknownName: an unknown loss, term or option.

    >>> check_loss(".5*dice+0.50*ce", {"smooth": "1"})
    ('0.5*dice + 0.5*ce', {'dice.smooth': 1.0})
    """
    terms = parse_sum(expression, registry)
    typed = _options_by_term(terms, options or {}, registry)
    for name, given in typed.items():
        registry.create(name, torch.ones(2), **given)  # ranges are checked by the factories themselves
    if len(terms) == 1:
        return canonical(terms), dict(sorted(typed[terms[0].name].items()))
    return canonical(terms), {f"{t.name}.{k}": v for t in terms for k, v in sorted(typed[t.name].items())}


def build_loss(
    expression: str,
    counts_c: Tensor,
    options: Mapping[str, Any] | None = None,
    *,
    registry: Registry[nn.Module] = LOSSES,
) -> nn.Module:
    """Module of a loss or a weighted sum of losses.

    Args:
        expression: see ``check_loss``; options: too.
        counts_c: labelled pixels of each output channel in the training fold, shape (c,).
        options: see ``check_loss``.
        registry: where names are looked up.

    Returns:
        module ``(logits (n, c, h, w), labels (n, h, w)) -> scalar``.

    Raises:
        EnsError: see ``check_loss``; also counts that are no counts.

    >>> loss = build_loss("0.5*dice + 0.5*weighted-ce", torch.tensor([90, 10]), {"cap": 5})
    >>> loss(torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]]))
    tensor(0.5966)
    """
    terms = parse_sum(expression, registry)
    typed = _options_by_term(terms, options or {}, registry)
    modules = [registry.create(term.name, counts_c, **typed[term.name]) for term in terms]
    if len(terms) == 1 and terms[0].coefficient == 1.0:
        return modules[0]
    return WeightedSum([term.coefficient for term in terms], modules)


def _options_by_term(
    terms: Sequence[Term], options: Mapping[str, Any], registry: Registry[nn.Module]
) -> dict[str, dict[str, Any]]:
    known = {term.name: registry.options(term.name) for term in terms}
    typed: dict[str, dict[str, Any]] = {name: {} for name in known}
    for key, value in sorted(options.items(), key=lambda item: "." in item[0]):  # term.key last, so that it wins
        term, dot, option = key.partition(".")
        if dot and term not in known:
            raise UnknownName(f"term '{term}' of option", key, [f"{name}.{option}" for name in known])
        names = [term] if dot else [name for name in known if key in known[name]]
        option = option if dot else key
        if not names or option not in known[names[0]]:
            every = known[term] if dot else {name for table in known.values() for name in table}
            raise UnknownName(f"option of loss '{term if dot else canonical(terms)}'", option, every)
        for name in names:
            label = f"option {option} of loss '{name}'"
            # Through text, so that 2 and 2.0 and "2" are one value with one hash.
            typed[name][option] = convert(str(value), known[name][option].annotation, label)
    return typed

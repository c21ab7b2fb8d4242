"""Components as text: a name, with its options in brackets where it has any, as in ``copy-paste(count=8)``."""

from __future__ import annotations

import inspect
import re
from typing import Any, NamedTuple

from ensemble.core.errors import EnsError
from ensemble.core.registry import Registry

_CALL = re.compile(r"\s*(?P<name>[^\s()]+)\s*(\((?P<options>[^()]*)\))?\s*")
_PLUS = re.compile(r"\+(?![^(]*\))")  # outside brackets: an option may be 1e+3


class Call(NamedTuple):
    """A registered name with every option of its factory; as text it is the one form that is stored and hashed."""

    name: str
    options: dict[str, Any]

    def __str__(self) -> str:
        options = ", ".join(f"{key}={_text(value)}" for key, value in self.options.items())
        return f"{self.name}({options})" if options else self.name


def parse_call(text: str, registry: Registry[Any]) -> Call:
    """Read ``name`` or ``name(option=value, ...)``; options are typed, and those left out get their defaults.

    Raises:
        EnsError: another form, or an option whose value has another type.
        UnknownName: a name or an option that is not known.

    >>> shapes = Registry[float]("shape")
    >>> @shapes.register("square")
    ... def square(*, side: int = 1, scale: float = 1.0) -> float:
    ...     '''A square.'''
    ...     return side * scale
    >>> str(parse_call("square(scale=2)", shapes))
    'square(side=1, scale=2.0)'
    """
    match = _CALL.fullmatch(text)
    if match is None:
        raise EnsError(f"expected {registry.kind}s as name or name(option=value, ...), got '{text.strip()}'")
    name = match["name"]
    given = registry.parse_options(name, [pair for pair in (match["options"] or "").split(",") if pair.strip()])
    call = Call(name, {key: given.get(key, option.default) for key, option in registry.options(name).items()})
    missing = [key for key, value in call.options.items() if value is inspect.Parameter.empty]
    if missing:
        raise EnsError(f"the {registry.kind} '{name}' needs the option {missing[0]}; write {name}({missing[0]}=...)")
    return call


def split_sum(text: str) -> list[str]:
    """Terms of a sum, split at every plus outside brackets.

    >>> split_sum("flips + cutmix(alpha=1e+0)")
    ['flips', 'cutmix(alpha=1e+0)']
    """
    return [term.strip() for term in _PLUS.split(text)]


def _text(value: Any) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)

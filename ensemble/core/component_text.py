"""Components as text: ``name(option=value, ...)``, and sums of them. One grammar and one parser for all of them.

unet(filters=24)                                  an architecture
0.5*dice(smooth=1) + 0.5*focal(gamma=1.5)         a sum of losses, each with a coefficient
geometric + copy-paste(count=4) + mine.toml       a sum of augmentations; files may be terms
weighted(weights=[2, 1, 1])                       a list as a value
copy-paste(scale=0.5..2)                          a range as a value: a list of two
cascade(first=unet(filters=8), second=linknet)    a component as a value
unet(note="text with , ( and )")                  quotes keep commas and brackets in a value
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ensemble.core.errors import EnsError
from ensemble.core.registry import Registry

_OPEN, _CLOSE, _QUOTES = "([", ")]", "\"'"
_PARTNER = dict(zip(_OPEN, _CLOSE, strict=True))
_HEAD = re.compile(r"\s*(?P<name>[^\s()\[\]=,]+)\s*(?P<options>\(.*\))?\s*", re.DOTALL)


class ComponentCall(NamedTuple):
    """Name of a registered component and its options; as text it is the canonical form."""

    name: str
    options: dict[str, Any]

    def __str__(self) -> str:
        return format_component(self.name, self.options)


def parse_component(text: str, registry: Registry[Any]) -> ComponentCall:
    """Return the component that ``text`` names with the value of every option: those not given have their defaults.

    Raises:
        EnsError: text of another form, a value of another type, or a missing option that has no default.
        UnknownName: a name or an option that is not registered.

    >>> shapes = Registry[float]("shape")
    >>> @shapes.register("square")
    ... def square(*, side: int = 1, scale: float = 1.0) -> float:
    ...     '''A square.'''
    ...     return side * scale
    >>> str(parse_component("square(scale=2)", shapes))
    'square(side=1, scale=2.0)'
    """
    name, given = parse_given(text, registry)
    options = {key: given.get(key, option.default) for key, option in registry.options(name).items()}
    missing = [key for key, value in options.items() if value is inspect.Parameter.empty]
    if missing:
        raise EnsError(f"the {registry.kind} '{name}' needs the option {missing[0]}; write {name}({missing[0]}=...)")
    return ComponentCall(name, options)


def parse_given(text: str, registry: Registry[Any]) -> ComponentCall:
    """Return the component that ``text`` names with the options that it gives, typed; see `parse_component`."""
    name, options = split_component(text, registry.kind)
    return ComponentCall(name, registry.check_options(name, options))


def split_component(text: str, kind: str = "component") -> tuple[str, dict[str, str]]:
    """Split ``name(option=value, ...)`` into the name and the texts of the options; checks no name.

    Raises:
        EnsError: text of another form, or an option that is given twice.

    >>> split_component("cascade(first=unet(filters=8, depth=3), frozen=true)")
    ('cascade', {'first': 'unet(filters=8, depth=3)', 'frozen': 'true'})
    """
    check_brackets(text)
    match = _HEAD.fullmatch(text)
    inside = (match["options"] or "()")[1:-1] if match else ""
    if match is None or _unpaired(inside):
        raise EnsError(
            f"expected {_article(kind)} written as name or name(option=value, ...), got '{text.strip()}';"
            " check the name, the brackets and the commas"
        )
    options: dict[str, str] = {}
    for part in split_outside_brackets(inside, ","):
        if not part.strip():
            continue
        key, sign, value = part.partition("=")
        key, value = key.strip(), value.strip()
        if not sign or not key:
            raise EnsError(
                f"expected the options of {kind} '{match['name']}' as name=value, got '{part.strip()}';"
                f" write for example {match['name']}(option=3)"
            )
        if key in options:
            raise EnsError(f"the option {key} of {kind} '{match['name']}' is given twice; give it once")
        quoted = len(value) > 1 and value[0] in _QUOTES and value[-1] == value[0]
        options[key] = value[1:-1] if quoted else value
    return match["name"], options


def format_component(name: str, options: Mapping[str, Any]) -> str:
    """Return ``name(option=value, ...)``; `split_component` reads it back.

    >>> format_component("weighted", {"weights": (2, 1), "note": "a, b"})
    "weighted(weights=[2, 1], note='a, b')"
    """
    inside = ", ".join(f"{key}={_value_text(value)}" for key, value in options.items())
    return f"{name}({inside})" if inside else name


def split_sum(text: str) -> list[str]:
    """Return the terms of a sum, split at every plus outside brackets that does not belong to a number.

    >>> split_sum("flips + cutmix(alpha=1e+0) + 1e+0*x")
    ['flips', 'cutmix(alpha=1e+0)', '1e+0*x']
    """
    return [term.strip() for term in split_outside_brackets(text, "+")]


def split_outside_brackets(text: str, separator: str) -> list[str]:
    """Split ``text`` at a separator that stands outside brackets and quotes; a plus inside a number does not split."""
    parts, start, depth, quote = list[str](), 0, 0, ""
    for place, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in _QUOTES:
            quote = sign
        elif sign in _OPEN:
            depth += 1
        elif sign in _CLOSE:
            depth -= 1
        elif sign == separator and depth == 0:
            before = text[start:place]
            if separator == "+" and (re.search(r"(^|[\d.*])\d*\.?[eE]$", before) or not before.strip()):
                continue  # the plus of an exponent, or the sign of the coefficient that follows
            parts.append(before)
            start = place + 1
    return [*parts, text[start:]]


def check_brackets(text: str) -> None:
    """Raise an error unless every bracket and quote of ``text`` has its partner.

    Raises:
        EnsError: the text names the first one without a partner.
    """
    if not (sign := _unpaired(text)):
        return
    if sign in _CLOSE:
        raise EnsError(f"the bracket {sign} in '{text.strip()}' was never opened; remove it")
    what = "quote" if sign in _QUOTES else "bracket"
    raise EnsError(f"the {what} {sign} in '{text.strip()}' is never closed; add {_PARTNER.get(sign, sign)}")


def _unpaired(text: str) -> str:
    """Return the first bracket or quote of ``text`` without a partner; empty if each of them has one."""
    opened, quote = list[str](), ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in _QUOTES:
            quote = sign
        elif sign in _OPEN:
            opened.append(sign)
        elif sign in _CLOSE and not opened:
            return sign
        elif sign in _CLOSE and _PARTNER[last := opened.pop()] != sign:
            return last
    return quote or "".join(opened)[-1:]


def _value_text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value_text(item) for item in value)}]"
    text = str(value)
    if not _unpaired(text) and len(split_outside_brackets(text, ",")) == 1 and not re.search(r"^\s|\s$|^['\"]", text):
        return text
    quote = next((quote for quote in _QUOTES[::-1] if quote not in text), "")
    if not quote:
        raise EnsError(f"cannot write {text} as the value of an option: it contains both kinds of quotes; rename it")
    return f"{quote}{text}{quote}"


def _article(kind: str) -> str:
    return f"{'an' if kind[:1] in 'aeiou' else 'a'} {kind}"

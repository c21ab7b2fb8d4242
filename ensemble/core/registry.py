"""A registry is a dict with manners: names map to factories, wrong names get a suggestion.

A factory takes a few positional arguments that its kind fixes (an architecture: ``in_channels, classes``) and
keyword-only *options*. Names, types and defaults of the options are read from its signature, so that
``--arch "unet(filters=32)"`` is checked without any knowledge of the architecture. An option that is worth tuning
names its search range next to its type: ``filters: Annotated[int, Between(8, 32, log=True)] = 16``.
"""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, Literal, TypeVar

from ensemble.core.errors import EnsError, UnknownName

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
BUILT_IN = "built-in"
IMPORTED = "imported"  # origin of what another tool trained: the loss, and the architecture if only predictions came
FROM_A_PLUGIN = "if it is your own, load its file (--plugin FILE.py, or load_plugin)"


@dataclass(frozen=True)
class Between:
    """Search range of a number: from ``low`` to ``high``, both included; whole numbers if both are ints.

    Args:
        low, high: the bounds; the default of the option lies between them.
        log: search on a logarithmic scale.
    """

    low: float
    high: float
    log: bool = False

    def __contains__(self, value: Any) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high


@dataclass(frozen=True)
class OneOf:
    """Search range of any other value: one of ``choices``."""

    choices: tuple[Any, ...]

    def __contains__(self, value: Any) -> bool:
        return value in self.choices


Search = Between | OneOf


class Registry(Generic[T]):
    """Factories of one kind of component by name, in the order they were registered.

    Args:
        kind: the word for a component in messages, such as ``loss``.
        group: entry-point group in which installed packages offer more, such as ``ens.losses``; read once, at
            the first use of the registry. An entry point is a factory, or a module that registers one by that name.

    >>> shapes = Registry[int]("shape")
    >>> @shapes.register("square")
    ... def square(side: int, *, scale: float = 1.0) -> int:
    ...     '''A square.'''
    ...     return int(side * scale)
    >>> shapes.create("square", 2, scale=1.5)
    3
    >>> shapes.check_options("square", {"scale": "2"})
    {'scale': 2.0}
    """

    def __init__(self, kind: str, group: str | None = None) -> None:
        self.kind = kind
        self._group, self._takes_plugins = group, group is not None
        self._own: dict[str, Callable[..., T]] = {}
        self._origins: dict[str, str] = {}
        self._origin = BUILT_IN

    def register(self, name: str) -> Callable[[F], F]:
        """Return a decorator that registers a factory under ``name``; a second factory of that name is an error."""

        def decorate(factory: F) -> F:
            if name in self._own:
                both = (self._origins[name], self._origin)
                by = "" if both[0] == both[1] else f" (by {both[0]} and {both[1]})"
                raise EnsError(f"{self.kind} '{name}' is registered twice{by}; give the second one another name")
            if not inspect.getdoc(factory):
                raise EnsError(f"{self.kind} '{name}' has no docstring; its first line is what `ens list` shows")
            self._own[name] = factory
            self._origins[name] = self._origin
            return factory

        return decorate

    @contextmanager
    def registering(self, origin: str) -> Generator[list[str]]:
        """Record ``origin`` for everything that is registered within the block; a failing block registers nothing.

        Yields:
            A list that contains the registered names after the block.
        """
        names: list[str] = []
        before, own = self._origin, dict(self._own)
        self._origin = origin
        try:
            yield names
        except BaseException:
            self._own = own
            raise
        finally:
            self._origin = before
        names += [name for name in self._own if name not in own]

    def origin(self, name: str) -> str:
        """Return where a component comes from: ``built-in``, or the plug-in file or package that registered it."""
        self[name]
        return self._origins[name]

    @property
    def _factories(self) -> dict[str, Callable[..., T]]:
        if self._group is not None:
            group, self._group = self._group, None  # before loading, because the modules read the registry themselves
            for point in entry_points(group=group):
                self._load(point)
        return self._own

    def _load(self, point: EntryPoint) -> None:
        package = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
        try:
            with self.registering(package):
                found = point.load()
                if not inspect.ismodule(found):
                    self.register(point.name)(found)
        except EnsError:
            raise
        except Exception as error:  # a foreign package can fail in any way
            raise EnsError(
                f"the {self.kind} '{point.name}' of the package {package} cannot be loaded"
                f" ({type(error).__name__}: {error}); update or uninstall that package"
            ) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._factories)

    def __len__(self) -> int:
        return len(self._factories)

    def __contains__(self, name: object) -> bool:
        return name in self._factories

    def __getitem__(self, name: str) -> Callable[..., T]:
        if name not in self._factories:
            plural = f"{self.kind}{'es' if self.kind.endswith('s') else 's'}"
            otherwise = FROM_A_PLUGIN if self._takes_plugins else ""
            raise UnknownName(self.kind, name, self._factories, listing=f"`ens list {plural}`", otherwise=otherwise)
        return self._factories[name]

    def summary(self, name: str) -> str:
        """Return the first line of the factory's docstring."""
        return (inspect.getdoc(self[name]) or "").splitlines()[0]

    def options(self, name: str) -> dict[str, inspect.Parameter]:
        """Return the keyword-only parameters of the factory, with their annotations resolved to types."""
        factory = self[name]
        hints = typing.get_type_hints(factory)
        return {
            key: parameter.replace(annotation=hints.get(key, str))
            for key, parameter in inspect.signature(factory).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }

    def space(self, name: str) -> dict[str, Search]:
        """Return the search range of each option that is annotated with one.

        >>> shapes = Registry[float]("shape")
        >>> @shapes.register("square")
        ... def square(*, side: typing.Annotated[int, Between(1, 9)] = 3, scale: float = 1.0) -> float:
        ...     '''A square.'''
        ...     return side * scale
        >>> shapes.space("square")
        {'side': Between(low=1, high=9, log=False)}
        """
        hints = typing.get_type_hints(self[name], include_extras=True)
        return {
            key: mark
            for key in self.options(name)
            for mark in getattr(hints.get(key), "__metadata__", ())
            if isinstance(mark, Between | OneOf)
        }

    def check_options(self, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``given`` with texts converted to the option's type; unknown names get a suggestion."""
        known = self.options(name)
        checked: dict[str, Any] = {}
        for key, value in given.items():
            if key not in known:
                raise UnknownName("option", key, known, where=f"of {self.kind} '{name}'")
            label = f"option {key} of {self.kind} '{name}'"
            checked[key] = convert(value, known[key].annotation, label) if isinstance(value, str) else value
        return checked

    def create(self, name: str, /, *args: Any, **options: Any) -> T:
        """Call the factory with checked options."""
        return self[name](*args, **self.check_options(name, options))


_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def convert(text: str, annotation: Any, label: str) -> Any:
    """Convert command-line text to ``annotation``: int, float, bool, str, Literal, X | None or tuple[X, ...]."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        by_text = {str(choice): choice for choice in arguments}
        if text not in by_text:
            raise UnknownName("value", text, by_text, where=f"for {label}")
        return by_text[text]
    if origin in (typing.Union, types.UnionType):
        if type(None) in arguments and text.lower() == "none":
            return None
        inner = [argument for argument in arguments if argument is not type(None)]
        return convert(text, inner[0], label)
    if origin is tuple:
        inside = text[1:-1] if text[:1] == "[" and text[-1:] == "]" else text
        separator = ".." if ".." in inside else ","  # a range, such as 0.5..2, is a pair
        parts = inside.removesuffix(",").split(separator) if inside.strip() else []
        return tuple(convert(part.strip(), arguments[0], label) for part in parts)
    try:
        value = _WORDS[text.lower()] if annotation is bool else annotation(text)
    except (KeyError, ValueError):
        expected = {bool: "true or false", int: "a whole number", float: "a number"}.get(annotation, str(annotation))
        raise EnsError(f"expected {expected} for {label}, got '{text}'") from None
    if isinstance(value, float) and not math.isfinite(value):  # JSON, which keeps the settings of a run, has no such
        raise EnsError(f"expected a finite number for {label}, got '{text}'; give a very large or small one")
    return value

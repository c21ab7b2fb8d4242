"""Factories made from a table: how a family of architectures gets one signature and one docstring per member."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from ensemble.architectures.registry import ARCHITECTURES


def register_member(
    name: str, build: Callable[..., nn.Module], parameters: list[inspect.Parameter], docstring: str
) -> None:
    """Register ``build`` as the factory ``name`` with the given options and docstring.

    The registry reads the options of a factory from its signature and annotations, and `ens list` shows the first line
    of its docstring. A family writes both once, in a table, and this function attaches them to every member.

    Args:
        name: name of the architecture.
        build: function that takes every one of the parameters by name and returns the network.
        parameters: ``in_channels``, ``classes`` and the keyword-only options, with defaults and annotations.
        docstring: docstring of the factory; its first line is the summary.
    """
    signature = inspect.Signature(parameters, return_annotation=nn.Module)

    def factory(in_channels: int, classes: int, **options: Any) -> nn.Module:
        bound = signature.bind(in_channels, classes, **options)
        bound.apply_defaults()
        return build(**bound.arguments)

    factory.__name__ = factory.__qualname__ = name.replace("-", "_")
    factory.__doc__ = docstring
    factory.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {"return": nn.Module}
    vars(factory)["__signature__"] = signature
    ARCHITECTURES.register(name)(factory)

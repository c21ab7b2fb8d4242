"""``ens list``: what is registered."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Quiet
from ensemble.errors import UnknownName

EXAMPLE = "Example:  ens list losses"
KINDS = ("architectures", "losses", "augmentations", "encoders", "methods")


def list_components(
    kind: Annotated[str, typer.Argument(help=", ".join(KINDS))], quiet: Quiet = False, as_json: AsJson = False
) -> None:
    """List architectures, losses, augmentations, encoders or combining methods with their options."""
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble.cli.tables import table

    if kind not in KINDS:
        raise UnknownName("list", kind, KINDS)
    if kind == "encoders":
        from ensemble.architectures import known_encoders

        names = known_encoders()
        if as_json:
            output.result("", names)
        else:
            output.console.print(", ".join(names))
            output.say("and any timm model as tu-NAME, such as tu-convnext_atto")
        return
    registry = _registry(kind)
    rows = [(name, registry.summary(name), _options(registry, name)) for name in registry]
    if as_json:
        output.result("", [{"name": name, "summary": text, "options": options} for name, text, options in rows])
    else:
        output.console.print(table("", ("name", "what it is", "options and defaults"), rows, left=3))


def _registry(kind: str) -> Any:
    if kind == "architectures":
        from ensemble.architectures import ARCHITECTURES

        return ARCHITECTURES
    if kind == "losses":
        from ensemble.losses import LOSSES

        return LOSSES
    if kind == "methods":
        from ensemble.pool import COMBINERS

        return COMBINERS
    from ensemble.data.augmentation import AUGMENTATIONS

    return AUGMENTATIONS


def _options(registry: Any, name: str) -> str:
    return ", ".join(f"{key}={parameter.default}" for key, parameter in registry.options(name).items())

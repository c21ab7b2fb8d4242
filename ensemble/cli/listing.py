"""``ens list``: what is registered."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Plugins, Quiet
from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.registry import BUILT_IN

EXAMPLE = "Example:  ens list losses"
KINDS = ("architectures", "losses", "augmentations", "samplers", "encoders", "methods", "recipes")


def list_components(
    kind: Annotated[str, typer.Argument(help=", ".join(KINDS))],
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure every architecture here: size, operations, speed, memory.")
    ] = False,
    image_size: Annotated[str, typer.Option(help="HEIGHTxWIDTH of the images to measure with.")] = "64x128",
    batch_size: Annotated[int, typer.Option(min=2, help="Images per step to measure with.")] = 32,
    precision: Annotated[str, typer.Option(help="Precision to measure with: auto, fp32 or bf16.")] = "auto",
    plugins: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """List architectures, losses, augmentations, samplers, encoders, combining methods or the recipes of studies."""
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble.cli.tables import table

    if kind not in KINDS:
        raise UnknownName("list", kind, KINDS)
    if measure:
        if kind != "architectures":
            raise EnsError(f"--measure goes with architectures, got {kind}; write `ens list architectures --measure`")
        _measure(output, image_size, batch_size, precision)
        return
    if kind == "encoders":
        from ensemble.architectures import known_encoders

        names = known_encoders()
        if as_json:
            output.result("", names)
        else:
            output.console.print(", ".join(names))
            output.say("and any timm model as tu-NAME, such as tu-convnext_atto")
        return
    if kind == "recipes":
        _recipes(output)
        return
    registry = _registry(kind)
    columns = ("name", "summary", "options", "origin")
    rows = [
        (name, registry.summary(name), _options(registry, name), registry.origin(name)) for name in sorted(registry)
    ]
    if as_json:
        output.result("", [dict(zip(columns, row, strict=True)) for row in rows])
        return
    shown = 3 if all(row[3] == BUILT_IN for row in rows) else 4  # where all are built-in it need not be said
    titles = ("name", "what it is", "options and defaults", "from")
    output.console.print(table("", titles[:shown], [row[:shown] for row in rows], left=shown))


def _recipes(output: Output) -> None:
    from ensemble.cli.tables import table
    from ensemble.study import read_recipe, shipped_recipes

    recipes = {name: read_recipe(name) for name in shipped_recipes()}
    rows = [
        (name, recipe.file.question, len(recipe.entries), len(recipe.file.ensembles))
        for name, recipe in recipes.items()
    ]
    columns = ("name", "question", "members", "ensembles")
    if output.as_json:
        output.result("", [dict(zip(columns, row, strict=True)) for row in rows])
    else:
        output.console.print(table("", columns, rows, left=2))


def _measure(output: Output, image_size: str, batch_size: int, precision: str) -> None:
    import pandas as pd

    from ensemble.cli.tables import table
    from ensemble.core.units import parse_size
    from ensemble.training import cost as measure

    with output.progress() as progress:
        frame = measure.architectures(
            image_size=parse_size(image_size), batch_size=batch_size, precision=precision, progress=progress
        )
    if output.as_json:
        output.result("", frame.astype(object).where(frame.notna(), None).to_dict(orient="records"))
        return
    titles = ("name", "params M", "GFLOPs", "train images/s", "predict images/s", "memory MB")
    figures = zip(
        frame["name"],
        *(
            [("-" if pd.isna(value) else form.format(value)) for value in column]
            for column, form in (
                (frame["parameters"] / 1e6, "{:.2f}"),
                (frame["gflops"], "{:.2f}"),
                (frame["train_images_per_second"], "{:.0f}"),
                (frame["infer_images_per_second"], "{:.0f}"),
                (frame["peak_memory_mb"], "{:.0f}"),
            )
        ),
        strict=True,
    )
    output.console.print(table("", titles, figures))
    for name, error in frame.loc[frame["error"].notna(), ["name", "error"]].to_numpy():
        output.say(escape(f"{name}: {error}"))
    output.say(
        f"[dim]images of {image_size}, batches of {batch_size}; a multiplication and an addition count as two"
        " operations; memory is what training adds to the loaded libraries[/]"
    )


def _registry(kind: str) -> Any:
    if kind == "architectures":
        from ensemble.architectures import ARCHITECTURES

        return ARCHITECTURES
    if kind == "losses":
        from ensemble.losses import LOSSES

        return LOSSES
    if kind == "methods":
        from ensemble.combining import COMBINERS

        return COMBINERS
    if kind == "samplers":
        from ensemble.data.samplers import SAMPLERS

        return SAMPLERS
    from ensemble.data.augmentation.steps import AUGMENTATIONS

    return AUGMENTATIONS


def _options(registry: Any, name: str) -> str:
    return ", ".join(f"{key}={parameter.default}" for key, parameter in registry.options(name).items())

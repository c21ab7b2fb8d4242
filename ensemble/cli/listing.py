"""``ens list``: show the registered components, with their options and defaults."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Plugins, Quiet
from ensemble.core.component_text import format_component
from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.registry import BUILT_IN

EXAMPLE = "Example:  ens list losses"
KINDS = ("architectures", "losses", "augmentations", "samplers", "encoders", "methods", "formats", "recipes")
READABLE = 100  # characters of a line; longer lines are hard to read, even in a wider terminal


def list_components(
    kind: Annotated[str, typer.Argument(help=f"What to list: {', '.join(KINDS)}.")],
    measure: Annotated[
        bool,
        typer.Option(
            "--measure", help="Size, operations, speed and memory of every architecture, measured on this machine."
        ),
    ] = False,
    image_size: Annotated[str, typer.Option(help="HEIGHTxWIDTH of the images for --measure.")] = "64x128",
    batch_size: Annotated[int, typer.Option(min=2, help="Images per step for --measure.")] = 32,
    precision: Annotated[str, typer.Option(help="Precision for --measure: auto, fp32 or bf16.")] = "auto",
    plugins: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """List architectures, losses, augmentations, samplers, encoders, methods, data formats or recipes."""
    output = Output(quiet=quiet, as_json=as_json)
    if kind not in KINDS:
        raise UnknownName("list", kind, KINDS)
    if measure:
        if kind != "architectures":
            raise EnsError(
                f"--measure works only for architectures, got {kind}; write `ens list architectures --measure`"
            )
        _measure(output, image_size, batch_size, precision)
    elif kind == "encoders":
        _encoders(output)
    elif kind == "recipes":
        _recipes(output)
    else:
        _components(output, _registry(kind))


def _components(output: Output, registry: Any) -> None:
    """Print name, summary, options and origin of every component."""
    rows = [
        {
            "name": name,
            "summary": registry.summary(name),
            "options": _options(registry, name),
            "origin": registry.origin(name),
        }
        for name in sorted(registry)
    ]
    if output.as_json:
        output.result("", rows)
        return
    from rich.table import Table
    from rich.text import Text

    entries = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    entries.add_column(no_wrap=True, style="bold")
    entries.add_column(overflow="fold")
    for row in rows:
        origin = "" if row["origin"] == BUILT_IN else f"from {row['origin']}"
        lines = [Text(row["summary"]), *(Text(text, style="dim") for text in (row["options"], origin) if text)]
        entries.add_row(Text(row["name"]), Text("\n").join(lines))
    output.console.print(entries, width=min(output.console.width, READABLE))


def _encoders(output: Output) -> None:
    """Print the names of the encoders."""
    from ensemble.architectures import known_encoders

    names = known_encoders()
    if output.as_json:
        output.result("", names)
        return
    output.console.print(", ".join(names), width=min(output.console.width, READABLE))
    output.say("and every timm model as tu-NAME, such as tu-convnext_atto")


def _recipes(output: Output) -> None:
    """Print the recipes of studies that come with the package."""
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
    """Measure every architecture and print the figures."""
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
        f"[dim]Images of {image_size}, batches of {batch_size}. A multiplication and an addition count as two"
        " operations. The memory is the one that training needs in addition to the loaded libraries.[/]"
    )


def _registry(kind: str) -> Any:
    """Return the registry of a kind; each is imported only when it is listed."""
    if kind == "architectures":
        from ensemble.architectures import ARCHITECTURES

        return ARCHITECTURES
    if kind == "losses":
        from ensemble.losses import LOSSES

        return LOSSES
    if kind == "methods":
        from ensemble.combining import COMBINERS

        return COMBINERS
    if kind == "formats":
        from ensemble.data.formats.registry import FORMATS

        return FORMATS
    if kind == "samplers":
        from ensemble.data.samplers import SAMPLERS

        return SAMPLERS
    from ensemble.data.augmentation.steps import AUGMENTATIONS

    return AUGMENTATIONS


def _options(registry: Any, name: str) -> str:
    """Return the options and defaults as a user would type them."""
    defaults = {key: parameter.default for key, parameter in registry.options(name).items()}
    return format_component("", defaults)[1:-1]

"""Options that several commands share, and options that follow from the settings of training."""

from __future__ import annotations

import functools
import inspect
import re
import types
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args

import typer
from typer.core import TyperCommand

from ensemble.core.data_kinds import DATA, help_text
from ensemble.core.errors import EnsError


def load_plugins(paths: list[Path] | None) -> list[Path]:
    """Run plug-in files before the command looks any name up."""
    for path in paths or []:
        from ensemble.plugins import load_plugin

        load_plugin(path)
    return paths or []


OUTPUT = "Output"
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the outcome only.", rich_help_panel=OUTPUT)]
AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.", rich_help_panel=OUTPUT)]
Runs = Annotated[
    Path, typer.Option("--runs", help="Folder that holds members and ensembles.", rich_help_panel=OUTPUT, metavar="DIR")
]
Out = Annotated[
    Path,
    typer.Option("--out", "--runs", help="Folder for members and ensembles.", rich_help_panel=OUTPUT, metavar="DIR"),
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        envvar="ENS_PLUGIN",
        callback=load_plugins,
        help="Python file that registers components of your own.",
        rich_help_panel="Network",
        metavar="FILE",
        show_envvar=False,
    ),
]
Data = Annotated[str, typer.Argument(help=f"{help_text(DATA)}.")]
Background = Annotated[
    str | None, typer.Option(help="Meaning of class 0: void, class or zero-weight (npz: void, folder: class).")
]
BACKGROUND_IS = {"void": "void", "class": "a class", "zero-weight": "an output of weight zero"}
"""Words for the meaning of class 0."""
Device = Annotated[str, typer.Option(help="Device: auto, cpu, cuda or mps.")]
Precision = Annotated[str, typer.Option(help="Precision: auto, fp32 or bf16.")]
Tta = Annotated[
    str | None,
    typer.Option(help="Test-time augmentation: none, hflip, vflip, flips or d4 (default: as trained).", metavar="NAME"),
]
Decide = Annotated[
    str | None,
    typer.Option(
        help="Decision: argmax; expected-iou or expected-dice (the class maps with the largest expected mean IoU or"
        " Dice); or offsets (default: that of the ensemble; argmax of a member).",
        metavar="RULE",
    ),
]
DecideFrom = Annotated[
    str | None,
    typer.Option(
        help="Images whose expected scores decide: validation (those of the members), or images (those given here, all"
        " together, which are then predicted twice) (default: that of the ensemble; validation).",
        metavar="WHICH",
    ),
]
Augment = Annotated[str, typer.Option(help="Sum of augmentations and TOML files, such as 'geometric + copy-paste'.")]


class SettingsCommand(TyperCommand):
    """Command whose options follow from ``ensemble.config``; they are built only if this command is used.

    A sub-class names the function that runs it. Its parameter ``**settings`` stands for the settings.
    """

    run: ClassVar[Callable[..., None]]
    leave_out: ClassVar[Collection[str]] = ()
    shown: ClassVar[Mapping[str, str]] = {}  # settings that are passed only if given, with the text of their default
    kinds: ClassVar[tuple[str, ...]] = ("TrainSettings",)  # classes of ``ensemble.config`` whose fields are options

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Return the arguments that remain; an option of an earlier version is refused by what replaces it."""
        from ensemble.core.settings import RENAMED

        for name, text in RENAMED.items():
            option = f"--{name.replace('_', '-')}"
            if any(arg.partition("=")[0] == option for arg in args):
                names = re.sub(r"input_\w+|crop", lambda found: f"--{found[0].replace('_', '-')}", text)
                raise EnsError(f"{option} is no option any more: {names}")
        return super().parse_args(ctx, args)

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, after reading the settings once."""
        if not getattr(self, "_is_built", False):
            app = typer.Typer(add_completion=False)
            app.command()(with_settings(type(self).run, self.leave_out, self.shown, self.kinds))
            built: Any = typer.main.get_command(app)
            self.params, self.callback, self._is_built = built.params, built.callback, True
        return super().get_params(ctx)


def with_settings(
    function: Callable[..., None],
    leave_out: Collection[str] = (),
    shown: Mapping[str, str] | None = None,
    kinds: Collection[str] = ("TrainSettings",),
) -> Callable[..., None]:
    """Return ``function(..., **settings)`` with an option for every setting of training in place of ``**settings``."""
    from ensemble import config

    own = list(inspect.signature(function, eval_str=True).parameters.values())
    every = {name: field for kind in kinds for name, field in getattr(config, kind).model_fields.items()}
    fields = {name: field for name, field in every.items() if name not in leave_out}
    order = sorted(fields, key=lambda name: _PANELS.index(fields[name].json_schema_extra["panel"]))  # pyright: ignore
    made = [_parameter(name, fields[name], (shown or {}).get(name)) for name in order]
    keyword_only = inspect.Parameter.KEYWORD_ONLY
    explicit = [one.replace(kind=keyword_only) for one in own if one.kind is not inspect.Parameter.VAR_KEYWORD]
    parameters = [*made, *explicit]

    @functools.wraps(function)
    def call(**given: Any) -> None:
        left_out = [name for name in (shown or {}) if given.get(name) is None]
        function(**{name: value for name, value in given.items() if name not in left_out})

    call.__annotations__ = {one.name: one.annotation for one in parameters}
    call.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue]
    return call


_PANELS = ("Network", "Student", "Data", "Input", "Training", "Hardware")


def _parameter(name: str, field: Any, shown: str | None) -> inspect.Parameter:
    """Return the parameter of the command line for one setting."""
    extra, metavar = field.json_schema_extra, _metavar(field)
    kind = bool if metavar is None else str  # the settings convert and check the text, and explain a mistake
    help_text = f"{field.description}."
    default: Any = None if shown is not None else inspect.Parameter.empty if field.is_required() else field.default
    if name == "data":
        option: Any = typer.Argument(help=help_text)
    else:
        words = shown if shown is not None else extra["shown"]
        option = typer.Option(
            f"--{name.replace('_', '-')}",
            help=f"{help_text} (default: {words})" if words else help_text,
            rich_help_panel=extra["panel"],
            metavar=metavar,
        )
    default = str(default) if isinstance(default, int | float) and kind is str else default
    annotation = Annotated[kind if default is not None else kind | None, option]
    if default is inspect.Parameter.empty:
        annotation = Annotated[kind, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _metavar(field: Any) -> str | None:
    """Return the word for the value of a setting in the help; None for a flag."""
    if any(hasattr(mark, "func") for mark in field.metadata):
        return "TEXT"  # such as 5m or 64x128
    parts = get_args(field.annotation) if isinstance(field.annotation, types.UnionType) else (field.annotation,)
    return next((word for kind, word in ((bool, None), (int, "INT"), (float, "NUM")) if kind in parts), "TEXT")

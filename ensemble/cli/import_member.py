"""``ens import-member``: make a member of the predictions of another tool, or of a network that it trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ensemble.cli.console import Output
from ensemble.cli.import_summary import describe_import, describe_network, show_member
from ensemble.cli.options import AsJson, Out, Plugins, Quiet
from ensemble.core.errors import EnsError

READING, NETWORK, SPLIT = "Reading of predictions", "Trained network", "Data and split"
EXAMPLE = (
    "Example:  ens import-member nnunet_predictions/ --name nnunet --data mars.npz --ids cases.csv    or"
    "    ens import-member net.pth --arch mynet --plugin mynet.py --data mars.npz --mean 0.45 --std 0.2"
)


def import_member(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="Predictions: FILE.npz, FILE.npy, zarr, or a folder with a file per image (npz, npy, PNG). Or weights"
            " of a network: .pth, .pt or .safetensors; several for the folds, in their order.",
        ),
    ],
    *,
    name: Annotated[
        str | None, typer.Option(help="Name of the member (default: that of the file).", rich_help_panel="Member")
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(
            help="Architecture of a trained network, such as 'unet(filters=24)'; for predictions any words for the"
            " results table (default: imported).",
            rich_help_panel="Member",
        ),
    ] = None,
    loss: Annotated[str, typer.Option(help="Loss for the results table.", rich_help_panel="Member")] = "unknown",
    trained_on: Annotated[
        str | None,
        typer.Option(
            metavar="CSV",
            help="Table of the images that the network was trained on: column id; or none if it saw no image of these"
            " data (default: it saw no validation image).",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBERS",
            help="Mean of the pixels in training, in 0..1, one or one per band, such as 0.485,0.456,0.406 (default:"
            " 0).",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBERS",
            help="Standard deviation of the pixels, such as 0.229,0.224,0.225 (default: 1).",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    input_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Size that whole images are brought to for the network, such as 512x512 (default: as they are).",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    input_scale: Annotated[
        float | None,
        typer.Option(metavar="NUM", help="Factor by which the network sees images enlarged.", rich_help_panel=NETWORK),
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Windows that it was trained on, such as 256x256, or none.", rich_help_panel=NETWORK
        ),
    ] = None,
    tta: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Views that predictions average: none, hflip, vflip, flips or d4 (default: none).",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Device: auto, cpu, cuda or mps (default: auto).", rich_help_panel=NETWORK)
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Precision: auto, fp32 or bf16 (default: auto).", rich_help_panel=NETWORK)
    ] = None,
    plugins: Plugins = None,
    ids: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV", help="Table with the image of each prediction: column id or row.", rich_help_panel=READING
        ),
    ] = None,
    logits: Annotated[
        bool,
        typer.Option("--logits", help="Numbers are logits (default: if the array says so).", rich_help_panel=READING),
    ] = False,
    channels: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="scored: a channel per scored class; all: per id of the data (default: from their number).",
            rich_help_panel=READING,
        ),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Predictions of the unlabelled test images.", rich_help_panel=READING),
    ] = None,
    test_ids: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Table with the image of each test prediction.", rich_help_panel=READING),
    ] = None,
    data: Annotated[
        str,
        typer.Option(metavar="DATA", help="Labelled data, as for `ens train`.", rich_help_panel=SPLIT),
    ] = "sample",
    like: Annotated[
        str | None,
        typer.Option(
            metavar="MEMBER",
            help="Member whose data settings and split are used (default: newest member on the same data).",
            rich_help_panel=SPLIT,
        ),
    ] = None,
    folds: Annotated[int | None, typer.Option(metavar="K", help="Folds of a new split.", rich_help_panel=SPLIT)] = None,
    val_fraction: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Validation share of a new split.", rich_help_panel=SPLIT),
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Split that your tool used, as `ens data split` writes it.",
            rich_help_panel=SPLIT,
        ),
    ] = None,
    split_seed: Annotated[
        int | None, typer.Option(metavar="SEED", help="Seed of a new split.", rich_help_panel=SPLIT)
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            metavar="KIND", help="Meaning of class 0 for a new split: void, class, zero-weight.", rich_help_panel=SPLIT
        ),
    ] = None,
    out: Out = Path("runs"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Import predictions of any tool, or a network that it trained, as a member.

    Both are listed, combined and explained like any other member. A trained network also predicts, and is bundled and
    exported; its weights are checked against the architecture, and it is not trained again.
    """
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble.config import DataSettings
    from ensemble.importing.import_plan import NETWORK_FILES

    split_given = _given(
        folds=folds,
        val_fraction=val_fraction,
        split=None if split is None else str(split),
        split_seed=split_seed,
        background=background,
    )
    shared: dict[str, Any] = {"data": DataSettings(source=str(data), **split_given) if split_given else data}
    shared |= {"name": name, "like": like, "loss": loss, "runs": out}
    for_predictions = {"ids": ids, "logits": logits, "channels": channels, "test": test, "test_ids": test_ids}
    for_network = _given(
        trained_on=trained_on,
        mean=_numbers(mean, "mean"),
        std=_numbers(std, "std"),
        input_size=input_size,
        input_scale=input_scale,
        crop=crop,
        tta=tta,
        device=device,
        precision=precision,
    )
    if any(file.suffix.lower() in NETWORK_FILES for file in files):
        _refuse(
            [option for option, value in for_predictions.items() if value], files[0], "predictions", "a trained network"
        )
        _import_network(files, arch, {**shared, **for_network}, output)
    else:
        _refuse(list(for_network), files[0], "a trained network", "predictions")
        _import_predictions(files, arch, {**shared, **for_predictions}, output)


def _given(**options: Any) -> dict[str, Any]:
    """Return the options that the user gave."""
    return {option: value for option, value in options.items() if value is not None}


def _refuse(wrong: list[str], file: Path, kind: str, other: str) -> None:
    """Refuse options of one kind of import for a file of the other kind."""
    if wrong:
        raise EnsError(f"--{wrong[0].replace('_', '-')} goes with {kind}, but {file} holds {other}; drop it")


def _numbers(text: str | None, option: str) -> list[float] | None:
    """Return the numbers of a text such as ``0.485,0.456,0.406``."""
    if text is None:
        return None
    try:
        return [float(part) for part in text.replace(";", ",").split(",")]
    except ValueError:
        raise EnsError(f"expected numbers for --{option}, such as 0.485,0.456,0.406, got '{text}'") from None


def _import_predictions(files: list[Path], arch: str | None, arguments: dict[str, Any], output: Output) -> None:
    """Import predictions and print what was understood."""
    if len(files) > 1:
        raise EnsError(f"expected one file or folder of predictions, got {len(files)}; put them into one folder")
    from ensemble.importing.import_member import import_member as import_predictions

    arguments["name"] = arguments["name"] or files[0].stem
    with output.progress() as progress:
        imported = import_predictions(files[0], arch=arch or "imported", progress=progress, **arguments)
    describe_import(imported, output)
    show_member(imported, output)


def _import_network(files: list[Path], arch: str | None, arguments: dict[str, Any], output: Output) -> None:
    """Import a trained network and print what was understood."""
    if arch is None:
        raise EnsError(
            f"expected --arch with the architecture of {files[0]}, such as 'unet(filters=24)', for a file of weights"
            " does not say how they are connected; `ens list architectures` shows those here, --plugin adds your own"
        )
    output.say("[dim]loading libraries and data ...[/]")
    from ensemble.importing.import_network import import_network

    with output.progress() as progress:
        imported = import_network(files, arch=arch, progress=progress, **arguments)
    describe_network(imported, output)
    show_member(imported, output)

"""``ens import-member``: make a member of the predictions of another tool, or of a network that it trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Out, Plugins, Quiet
from ensemble.cli.train import score_line
from ensemble.core.errors import EnsError
from ensemble.core.formatting import counted

if TYPE_CHECKING:
    from ensemble.importing.import_member import Imported
    from ensemble.importing.import_network import ImportedNetwork

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

    split_given: dict[str, Any] = {"folds": folds, "val_fraction": val_fraction, "split_seed": split_seed}
    split_given |= {"background": background, "split": None if split is None else str(split)}
    split_given = {option: value for option, value in split_given.items() if value is not None}
    shared: dict[str, Any] = {"data": DataSettings(source=str(data), **split_given) if split_given else data}
    shared |= {"name": name, "like": like, "loss": loss, "runs": out}
    for_predictions: dict[str, Any] = {
        "ids": ids,
        "logits": logits,
        "channels": channels,
        "test": test,
        "test_ids": test_ids,
    }
    for_networks: dict[str, Any] = {"trained_on": trained_on}
    for_networks |= {"mean": _numbers(mean, "mean"), "std": _numbers(std, "std")}
    for_networks |= {"input_size": input_size, "input_scale": input_scale, "crop": crop, "tta": tta}
    for_networks |= {"device": device, "precision": precision}
    is_network = any(file.suffix.lower() in NETWORK_FILES for file in files)
    given = {option: value for option, value in for_networks.items() if value is not None}
    wrong = [option for option, value in for_predictions.items() if value] if is_network else list(given)
    if wrong:
        kinds = ("predictions", "a trained network") if is_network else ("a trained network", "predictions")
        raise EnsError(f"--{wrong[0].replace('_', '-')} goes with {kinds[0]}, but {files[0]} holds {kinds[1]}; drop it")
    if is_network:
        _import_network(files, arch, {**shared, **given}, output)
        return
    if len(files) > 1:
        raise EnsError(f"expected one file or folder of predictions, got {len(files)}; put them into one folder")
    from ensemble.importing.import_member import import_member as import_predictions

    shared["name"] = name or files[0].stem
    with output.progress() as progress:
        imported = import_predictions(files[0], arch=arch or "imported", **shared, **for_predictions, progress=progress)
    describe_import(imported, output)
    _finish(imported, output)


def _numbers(text: str | None, option: str) -> list[float] | None:
    """Return the numbers of a text such as ``0.485,0.456,0.406``."""
    if text is None:
        return None
    try:
        return [float(part) for part in text.replace(";", ",").split(",")]
    except ValueError:
        raise EnsError(f"expected numbers for --{option}, such as 0.485,0.456,0.406, got '{text}'") from None


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
    _finish(imported, output)


def _finish(imported: Imported | ImportedNetwork, output: Output) -> None:
    from ensemble.runs.select import same_before
    from ensemble.runs.status import remove_command

    member = imported.member
    if first := same_before(member):
        output.say(
            escape(
                f"  note    {first} has the same predictions, so an ensemble of both would count them twice;"
                f" `{remove_command(member.path)}` removes this one"
            )
        )
    output.say(score_line(member.scores, member.facts.values))
    output.result(str(member.path), {"path": str(member.path), "name": member.name, "scores": member.scores})


def describe_network(imported: ImportedNetwork, output: Output) -> None:
    """Print which weights fit, what the network sees, and on which claim its score rests."""
    found, plan = imported.plan, imported.plan.plan
    dataset, split = plan.dataset, plan.split
    output.say(f"[bold]{escape(plan.path.name)}[/]  {plan.parameters / 1e6:.2f} M parameters")
    kind = f"{len(split.validation)} folds" if len(split.validation) > 1 else "hold-out"
    origin = f"split of {found.like or plan.settings.data.split or '`ens train`'}"
    output.say(f"  data    {escape(dataset.name)}: {len(split.scored)} images of the {kind}, {escape(origin)}")
    for fold, weights in enumerate(found.weights, 1):
        of = f" predicts fold {fold}" if len(found.weights) > 1 else ""
        output.say(f"  weights {escape(weights.path.name)}{of}: {counted(len(weights.state), 'tensor')}, all used")
    mean, std = (
        ", ".join(f"{number:.3g}" for number in each.flatten().tolist())
        for each in (found.networks[0].mean_c, found.networks[0].std_c)
    )
    output.say(f"  input   pixels in 0..1, less the mean {mean}, over the standard deviation {std}")
    output.say(escape(f"  claim   {found.claim.text}; nobody can check that, so the protocol says 'claimed'"))
    if found.claim.note:
        output.say(escape(f"  note    {found.claim.note}"))
    if not imported.new:
        output.say("  already imported: same weights, same data; nothing to do")


def describe_import(imported: Imported, output: Output) -> None:
    """Print how the file was read, for which images, and what cannot be checked."""
    plan = imported.plan
    target, dataset = plan.target, plan.target.dataset
    output.say(f"[bold]{escape(imported.member.name)}[/]")
    protocol = "out-of-fold" if plan.settings.data.folds else "hold-out"
    origin = f"split of {target.like or target.data.split or '`ens train`'}"
    output.say(f"  data    {escape(dataset.name)}: {len(target.ids)} {protocol} images, {escape(origin)}")
    for title, part in (("read", plan.validation), ("test", plan.test)):
        if part is None:
            continue
        conversion, predictions = part.conversion, part.predictions
        classes = ", ".join(dataset.names[value] for value in conversion.ids)
        source = f"'{predictions.key}' of {predictions.path.name}" if predictions.key else predictions.path.name
        kind = f"{conversion.kind} of {conversion.channels}"
        if conversion.kind == "class maps":
            kind = "class maps, made one-hot,"
        output.say(f"  {title:<8}{escape(source)} ({predictions.form}): {kind} classes {escape(classes)}")
        if part.ignored:
            output.say(f"          {part.ignored} predictions of other images are ignored")
    output.say("  trust   the score is honest only if the tool did not train on these images")
    if not imported.new:
        output.say("  already imported: same predictions, same data; nothing to do")

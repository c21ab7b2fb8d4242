"""``ens train``: train one member."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Augment, Background, Data, Device, ImageSize, Out, Plugins, Precision, Quiet

EXAMPLE = "Example:  ens train mars.npz --arch attention-unet --loss unified --arch-option filters=24 --budget 5m"


def train(
    data: Data = "sample",
    *,
    arch: Annotated[str, typer.Option(help="Architecture; see `ens list architectures`.")],
    loss: Annotated[str, typer.Option(help="Loss or weighted sum, such as '0.5*dice + 0.5*weighted-ce'.")],
    arch_option: Annotated[list[str] | None, typer.Option(help="Option of the architecture, as name=value.")] = None,
    loss_option: Annotated[list[str] | None, typer.Option(help="Option of the loss, as name=value.")] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="Encoder of the networks that have one, such as linknet; see `ens list encoders`."),
    ] = None,
    encoder_weights: Annotated[
        str | None, typer.Option(help="Pretrained encoder: 'imagenet' (from the hub or its cache) or a file.")
    ] = None,
    augment: Augment = "flips",
    sampler: Annotated[str, typer.Option(help="uniform, or 'rare(per_batch=3)': the rarest class in every batch.")] = (
        "uniform"
    ),
    exclude: Annotated[
        str | None,
        typer.Option(help="Leave images out of training: suspects.csv of `ens data check`, or suspects.csv:reason."),
    ] = None,
    exclude_from_score: Annotated[bool, typer.Option(help="Leave them out of the score too.")] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training images (30).")] = None,
    budget: Annotated[str | None, typer.Option(help="Training time such as 5m, instead of --epochs.")] = None,
    batch_size: Annotated[int, typer.Option(min=2, help="Images per step.")] = 32,
    lr: Annotated[float | None, typer.Option(help="Largest learning rate of AdamW (0.002).")] = None,
    weight_decay: Annotated[float | None, typer.Option(min=0, help="Weight decay of AdamW (0.01).")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, order and augmentation.")] = 0,
    folds: Annotated[int | None, typer.Option(help="Train K folds and predict out-of-fold (else a hold-out).")] = None,
    val_fraction: Annotated[float, typer.Option(help="Share of the images held out, when there are no folds.")] = 0.2,
    split_seed: Annotated[int, typer.Option(help="Seed of the split; the same for members to be combined.")] = 0,
    background: Background = None,
    image_size: ImageSize = None,
    keep: Annotated[str, typer.Option(help="Epoch to keep: last, or best (marks the score as selected).")] = "last",
    tta: Annotated[
        str, typer.Option(help="Predict the mean over views of an image: none, flips (4) or d4 (8).")
    ] = "none",
    device: Device = "auto",
    precision: Precision = "auto",
    deterministic: Annotated[bool, typer.Option("--deterministic", help="The same bits every time, on a GPU too.")] = (
        False
    ),
    out: Out = Path("runs"),
    plugins: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train one member and store its weights, scores and probabilities in its own directory."""
    output = Output(quiet=quiet, as_json=as_json)
    output.say("[dim]loading libraries and data ...[/]")
    from ensemble.training.train import train as train_member_from

    with output.progress() as progress:
        member = train_member_from(
            data,
            arch=arch,
            loss=loss,
            arch_options=_pairs(arch_option),
            loss_options=_pairs(loss_option),
            encoder=encoder,
            encoder_weights=encoder_weights,
            augment=augment,
            sampler=sampler,
            exclude=exclude,
            exclude_from_score=exclude_from_score,
            epochs=epochs,
            budget=budget,
            batch_size=batch_size,
            lr=lr,
            weight_decay=weight_decay,
            seed=seed,
            folds=folds,
            val_fraction=val_fraction,
            split_seed=split_seed,
            background=background,
            image_size=image_size,
            keep=keep,
            tta=tta,
            device=device,
            precision=precision,
            deterministic=deterministic,
            out=out,
            progress=progress,
            on_plan=lambda plan: describe_plan(plan, output),
        )
    output.say(score_line(member.scores))
    output.result(str(member.path), {"path": str(member.path), "name": member.name, "scores": member.scores})


def _pairs(texts: list[str] | None) -> dict[str, str]:
    from ensemble.core.registry import split_pairs

    return split_pairs(texts or [])


def describe_plan(plan: Any, output: Output) -> None:
    """What will be trained, on what, how it is split, and on which hardware."""
    from ensemble.inference.tta import VIEWS
    from ensemble.training.reuse import find_same_weights

    data, settings, split = plan.dataset, plan.settings, plan.split
    bands, height, width = data.shape
    kind = {"void": "void", "class": "a class of its own", "zero-weight": "an output of weight zero"}[data.background]
    folds = len(split.validation)
    parts = f"{folds} folds" if settings.data.folds else f"hold-out of {len(split.validation[0])}"
    output.say(f"[bold]{plan.path.name}[/]  {plan.parameters / 1e6:.2f} M parameters")
    output.say(
        f"  data    {escape(data.name)}: {len(data.ids)} images of {height}x{width}x{bands},"
        f" {len(data.test_ids)} unlabelled; {escape(', '.join(data.classes))}"
    )
    output.say(f"  void    class 0 is {kind}; {100 * data.void_share:.1f} % of the pixels carry no label")
    given = "given groups" if data.groups is not None else "near-duplicates grouped"
    output.say(f"  split   {parts} images, {len(set(plan.groups))} groups ({given})")
    for ids, what in ((settings.exclude, "training"), (settings.data.unscored, "training and score")):
        if ids:
            output.say(f"  without {len(ids)} images in {what}")
    how = f"{settings.precision}, {settings.threads} threads{', deterministic' * settings.deterministic}"
    how += f", {settings.processes} processes" * (settings.processes > 1)
    output.say(f"  runs on {settings.device}, {how}: {plan.hardware.reason}")
    if settings.tta != "none":
        output.say(f"  tta     {settings.tta}: the mean over {len(VIEWS[settings.tta])} views of every image")
    if plan.state == "complete":
        output.say("  already trained: same settings, same data; nothing to do")
    elif plan.state == "interrupted":
        output.say("  resuming an interrupted run")
    elif twin := find_same_weights(plan):
        output.say(f"  weights of {twin.name}, which differs in tta alone: only predictions are made")


def score_line(scores: dict[str, Any]) -> str:
    """``mIoU 61.2 % (57.0-65.1), ...`` and the classes."""
    from ensemble.core.formatting import percent

    classes = escape(", ".join(f"{name} {percent(value)}" for name, value in scores["iou"].items()))
    return (
        f"  [bold]mIoU {percent(scores['miou'])} %[/] (95 % interval {percent(scores['miou_low'])} to"
        f" {percent(scores['miou_high'])}, {scores['protocol']}); {classes}; log-loss {scores['log_loss']:.3f}"
    )

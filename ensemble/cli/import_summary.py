"""What ``ens import-member`` prints: how predictions or a network were understood, and the new member."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.train import score_line
from ensemble.core.formatting import counted

if TYPE_CHECKING:
    from ensemble.importing.import_member import Imported
    from ensemble.importing.import_network import ImportedNetwork


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
            verb = "is" if part.ignored == 1 else "are"
            output.say(f"          {counted(part.ignored, 'prediction')} of other images {verb} ignored")
    output.say("  trust   the score is honest only if the tool did not train on these images")
    if not imported.new:
        output.say("  already imported: same predictions, same data; nothing to do")


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
        output.note(found.claim.note)
    if not imported.new:
        output.say("  already imported: same weights, same data; nothing to do")


def show_member(imported: Imported | ImportedNetwork, output: Output) -> None:
    """Print the scores of the new member, which older one has the same predictions, and a better order of classes."""
    from ensemble.importing.class_order import order_note
    from ensemble.runs.select import same_before
    from ensemble.runs.status import remove_command

    member = imported.member
    if first := same_before(member):
        output.note(
            f"{first} has the same predictions, so an ensemble of both would count them twice;"
            f" `{remove_command(member.path)}` removes this one"
        )
    if note := order_note(member.confusions().sum(0), member.facts.classes):
        output.note(note)
    output.say(score_line(member.scores, member.facts.values))
    output.result(str(member.path), {"path": str(member.path), "name": member.name, "scores": member.scores})

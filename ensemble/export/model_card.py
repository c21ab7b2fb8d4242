"""The model card of a bundle, in Markdown: what it predicts, from what, how well, and what it cannot do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ensemble.combining.cascade import Cascade
from ensemble.combining.promises import Evidence
from ensemble.config import Component, DataFacts, decision_text
from ensemble.core.component_text import format_component
from ensemble.core.errors import EnsError
from ensemble.core.formatting import counted, in_percent, percent, visible
from ensemble.core.palette import class_colours
from ensemble.core.registry import BUILT_IN
from ensemble.evaluation.caveats import FEW_HOLDERS, no_interval
from ensemble.inference.predictor import Predictor
from ensemble.inference.promising import abstaining, with_sets
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.member import Member

ERROR, COVERAGE = 0.05, 0.9  # the promises that the card states as examples
WEAK = 0.5  # share of the mean IoU below which a class is called weak
SHOWN = {
    "miou": "mean IoU %", "miou_keras": "mean IoU % (keras, ignoring class 0)", "image_miou": "image-level mean IoU %",
    "dice": "mean Dice %", "pixel_accuracy": "pixel accuracy %", "boundary_f1": "boundary F1 %",
    "object_f1": "object F1 %", "ece": "calibration error (ECE) %",
}  # fmt: skip
PLAIN = {"log_loss": "log-loss", "brier": "Brier score"}
BACKGROUNDS = {
    "void": "The id 0 was void there: such pixels had no label, and the model never predicts 0.",
    "class": "The id 0 was a class like any other, if there was one.",
    "zero-weight": "The id 0 was a background that was learned with weight zero, and the model never predicts it.",
}


def card_of(
    run: Ensemble | Member, predictor: Predictor, evidence: Evidence | None, about: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return the model card, and the same facts as plain data.

    Args:
        run: the member or ensemble.
        predictor: the same, ready to predict.
        evidence: what promises rest on, if it is known.
        about: name, version, licence and latency.
    """
    scores, facts = run.scores, predictor.facts
    data: dict[str, Any] = {
        "members": [_member(member) for member in predictor.members],
        "decision": decision_text(predictor.decide, predictor.decide_from, predictor.smallest_object),
        "input": {"bands": facts.bands, "low": facts.span[0], "high": facts.span[1]},
        "data": {"name": facts.name, "height": facts.height, "width": facts.width, "background": facts.background},
        "classes": _classes(predictor, scores),
        "scores": {name: [scores.get(f"{name}{end}") for end in ("", "_low", "_high")] for name in (*SHOWN, *PLAIN)},
        "protocol": scores.get("protocol"),
        "images": scores.get("images"),
        "groups": scores.get("groups"),
        "verdict": scores.get("verdict", {}).get("advice"),
        "weak": weak_classes(predictor, scores),
        "promises": _promises(predictor, evidence),
    }
    templates = Environment(
        loader=PackageLoader("ensemble.export", "template"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=clean,
    )
    text = templates.get_template("card.md.jinja").render(
        **(dict(about) | data),
        percent=percent,
        rows=_score_rows(data["scores"], scores),
        input_words=_input(facts),
        background=BACKGROUNDS[facts.background],
        support=f"{counted(data['images'] or 0, 'image')} of {counted(data['groups'] or 0, 'group')}",
        quality_words=_quality(scores),
        parameters=sum(member.status.get("parameters", 0) for member in predictor.members),
        plugins=sorted({one["origin"] for one in data["members"]} - {BUILT_IN}),
        caveat=no_interval(data["groups"] or 0),
        cascade=isinstance(predictor.pool, Cascade),
        elsewhere=[member.name for member in predictor.members if member.settings.trained_elsewhere],
        refit="twin" in (data["protocol"] or ""),
        students=[member.settings.taught for member in predictor.members if member.settings.taught],
    )
    return text, data


def clean(value: Any) -> Any:
    """Return a text that may come from a file so that it cannot end its line, cell or block of Markdown.

    >>> clean("rock | <b>\\nsoil")
    'rock / (b) soil'
    """
    if not isinstance(value, str):
        return value
    return " ".join(visible(value).translate(str.maketrans("|<>`", "/()'")).split(" ")).replace("\n", " ")


def weak_classes(predictor: Predictor, scores: Mapping[str, Any]) -> list[str]:
    """Return a sentence about each class whose IoU is far below the mean, or that few groups of images hold."""
    found, mean = list[str](), scores.get("miou")
    groups = dict(zip(predictor.classes, scores.get("groups_per_class", ()), strict=False))
    for name in predictor.classes:
        iou, why = scores["iou"].get(name), list[str]()
        if iou is None:
            why.append("no scored image holds it, so nobody knows how well it is found")
        elif mean is not None and iou < WEAK * mean:
            why.append(f"its IoU of {percent(iou)} % is less than half of the mean")
        if 0 < groups.get(name, FEW_HOLDERS) < FEW_HOLDERS:
            why.append(f"only {counted(groups[name], 'group')} of scored images hold it")
        if why:
            found.append(f"{name}: {'; '.join(why)}")
    return found


def _member(member: Member) -> dict[str, Any]:
    settings = member.settings
    return {
        "name": member.name,
        "architecture": _text(settings.architecture),
        "origin": settings.architecture.origin,
        "loss": _text(settings.loss),
        "networks": settings.data.folds or 1,
        "tta": settings.tta,
        "packages": member.environment.get("packages", {}),
    }


def _text(component: Component) -> str:
    return format_component(component.name, component.options)


def _classes(predictor: Predictor, scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return id, name, colour, support and IoU of each class."""
    colours = predictor.palette
    colours = class_colours(range(len(predictor.values))) if colours is None else colours[list(predictor.values)]
    support = [scores.get(f"{what}_per_class", []) for what in ("images", "groups")]
    rows = list[dict[str, Any]]()
    for place, (name, value) in enumerate(zip(predictor.classes, predictor.values, strict=True)):
        images, groups = (each[place] if place < len(each) else None for each in support)
        iou = [scores.get(f"iou{end}", {}).get(name) for end in ("", "_low", "_high")]
        colour = "#" + bytes(colours[place]).hex()
        rows.append({"id": value, "name": name, "colour": colour, "images": images, "groups": groups, "iou": iou})
    return rows


def _score_rows(found: Mapping[str, Any], scores: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return name, value and interval of each score that has a value."""
    few = bool(no_interval(scores.get("groups", 0)))
    rows = list[tuple[str, str, str]]()
    for name, words in (SHOWN | PLAIN).items():
        value, low, high = found[name]
        if value is None or (name == "miou_keras" and value == scores["miou"]):
            continue
        text = percent if name in SHOWN else "{:.3f}".format
        rows.append((words, text(value), "-" if few or low is None or high is None else f"{text(low)} to {text(high)}"))
    return rows


def _input(facts: DataFacts) -> str:
    bands = {1: "one band (colour images become grey)", 3: "three bands (grey images become colours)"}
    return (
        f"{bands.get(facts.bands, f'{facts.bands} bands')}, with pixels from {facts.span[0]:g} to {facts.span[1]:g}, of"
        " any height and width"
    )


def _promises(predictor: Predictor, evidence: Evidence | None) -> list[tuple[str, str]]:
    """Return what the model can promise about new images, or why it cannot, with the option that asks for it."""
    if evidence is None:
        return []
    found = list[tuple[str, str]]()
    for option, find in (
        (f"--max-error {ERROR:g}", lambda: [abstaining(predictor, evidence, ERROR)[1]]),
        (f"--coverage {COVERAGE:g}", lambda: with_sets(predictor, evidence, COVERAGE)[1]),
    ):
        try:
            found += [(option, sentence) for sentence in find()]
        except EnsError as error:
            found.append((option, str(error)))
    return found


def _quality(scores: Mapping[str, Any]) -> str:
    """Return how well the quality of a mask is estimated without a true one; empty if it was not measured."""
    whole = scores.get("quality", {}).get("", {})
    if whole.get("spearman") is None:
        return ""
    return (
        f"out of fold, the rank correlation of estimated and true mean IoU of an image is {whole['spearman']:.2f}, and"
        f" {in_percent(whole['coverage'], 0)} of the 90 % intervals hold"
    )

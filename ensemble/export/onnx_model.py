"""A member or an ensemble as the content of an ONNX file: its graph, and what the file says about itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ensemble.combining.pool import Pool
from ensemble.core.errors import EnsError
from ensemble.core.palette import class_colours
from ensemble.export.graph import Floating, ModelGraph
from ensemble.export.onnx_graph import describe, to_bytes, to_onnx
from ensemble.export.own_images import OwnImages
from ensemble.export.precision import to_int8
from ensemble.inference.member_network import MemberNetwork
from ensemble.inference.pooled_networks import PooledNetworks
from ensemble.inference.predictor import Predictor

if TYPE_CHECKING:
    from onnx import ModelProto

Precision = Literal["fp32", "fp16", "int8"]
CALIBRATION = 64  # training images that give the scales of int8


def model_as_onnx(predictor: Predictor, precision: Precision, images: OwnImages) -> bytes:
    """Return the content of the ONNX file of a model.

    Args:
        predictor: the model; its pool has been checked by `check_pool`.
        precision: of the weights; see `ensemble.export_model`.
        images: images of its data; ``int8`` takes its scales from those that it was trained on.

    Raises:
        EnsError: the network of a member cannot be written; the sentence names its architecture.
    """
    proto = _graph_in(predictor, precision, images)
    describe(proto, _facts(predictor, precision))
    return to_bytes(proto)


def _graph_in(predictor: Predictor, precision: Precision, images: OwnImages) -> ModelProto:
    proto = _graph_of(predictor, "fp16" if precision == "fp16" else "fp32")
    if precision != "int8":
        return proto
    rows = images.trained or images.held_out
    some = sorted({rows[int(place)] for place in np.linspace(0, len(rows) - 1, CALIBRATION).round()})
    return to_int8(proto, (images.image(row) for row in some))


def _graph_of(predictor: Predictor, precision: Floating) -> ModelProto:
    bands = predictor.facts.bands
    try:
        return to_onnx(ModelGraph(predictor, precision).eval(), bands)
    except Exception as error:  # torch and onnxscript fail in many ways
        name, reason = _guilty(predictor, precision, error)
        raise EnsError(
            f"the architecture '{name}' cannot be written as an ONNX graph for images of any size ({reason}); predict"
            " with this package, or export other members"
        ) from error


def _guilty(predictor: Predictor, precision: Floating, error: Exception) -> tuple[str, str]:
    """Return the architecture that cannot be written, and why."""
    members = list(zip(predictor.members, predictor.networks.members, strict=True))
    for member, network in members[: len(members) if len(members) > 1 else 0]:
        try:
            to_onnx(ModelGraph(_alone(predictor, network), precision).eval(), predictor.facts.bands)
        except Exception as own:  # as above
            return member.settings.architecture.name, _first_line(own)
    return members[0][0].settings.architecture.name, _first_line(error)


def _alone(predictor: Predictor, network: MemberNetwork) -> Predictor:
    pool = Pool.uniform(1, len(predictor.classes))
    return replace(predictor, networks=PooledNetworks.of_one(network), pool=pool)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]


def _facts(predictor: Predictor, precision: Precision) -> dict[str, str]:
    """Return what the file says about itself; lists and numbers as JSON."""
    facts, palette, count = predictor.facts, predictor.palette, len(predictor.classes)
    colours = class_colours(range(count))[:count] if palette is None else palette[list(predictor.values)]
    try:
        version = metadata.version("ens-toolkit")
    except metadata.PackageNotFoundError:
        version = ""
    rows: Sequence[tuple[str, Any]] = [
        ("model", predictor.name),
        ("precision", precision),
        ("classes", list(predictor.classes)),
        ("ids", list(predictor.values)),
        ("colours", colours.tolist()),
        ("bands", facts.bands),
        ("span", list(facts.span)),
        ("decision", predictor.decide),
        ("members", [_member(predictor, place) for place in range(len(predictor.members))]),
        ("data", {"name": facts.name, "digest": facts.data_hash}),
        ("digest", predictor.digest),
        ("made by", f"ens-toolkit {version}".strip()),
    ]
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in rows}


def _member(predictor: Predictor, place: int) -> dict[str, Any]:
    member, network = predictor.members[place], predictor.networks.members[place]
    mean_std = [(fold.mean_c.flatten().tolist(), fold.std_c.flatten().tolist()) for fold in network.networks]
    return {
        "name": member.name,
        "weight": float(predictor.pool.weights_m[place]),
        "temperature": float(predictor.pool.temperatures_m[place]),
        "tta": network.settings.tta,
        "mean": [mean for mean, _ in mean_std],
        "std": [std for _, std in mean_std],
        "digest": network.key,
    }

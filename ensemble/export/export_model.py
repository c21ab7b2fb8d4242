"""Write a member or a whole ensemble as one ONNX file, and measure what it costs and whether it is the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

import numpy as np

from ensemble.config import Decide
from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.files import check_file, write_bytes
from ensemble.core.progress import Progress, no_progress
from ensemble.export.graph import check_pool
from ensemble.export.measure import (
    Change,
    Latency,
    Parity,
    Run,
    change_of_score,
    compare,
    latencies,
    networks_of,
    three_sizes,
)
from ensemble.export.onnx_graph import check_packages, open_session, run_session
from ensemble.export.onnx_model import Precision, model_as_onnx
from ensemble.export.own_images import OwnImages, open_own_images
from ensemble.inference.load import load
from ensemble.inference.predictor import Predictor

Say = Callable[[str], object]
FORMATS = ("onnx",)
TOLERANCE = 1e-4  # largest difference of a probability of a graph in fp32


@dataclass(frozen=True)
class Exported:
    """Result of :func:`export_model`.

    Attributes:
        path: the file.
        model: name of the member or ensemble.
        precision: ``fp32``, ``fp16`` or ``int8``.
        size: bytes of the file.
        weights: bytes of the weights of all networks as they are stored.
        parity: how far it is from the networks, on validation images of three sizes.
        latency: time for one image next to that of the networks, by number of threads.
        change: mean IoU next to that of the networks; None for ``fp32``.
    """

    path: Path
    model: str
    precision: Precision
    size: int
    weights: int
    parity: Parity
    latency: tuple[Latency, ...]
    change: Change | None


def export_model(
    model: str | Path,
    out: str | Path | None = None,
    *,
    to: str = "onnx",
    precision: str = "fp32",
    data: str | None = None,
    tta: str | None = None,
    decide: Decide | None = None,
    runs: str | Path = "runs",
    progress: Progress = no_progress,
    on_note: Say = str,
) -> Exported:
    """Write a member, or a whole ensemble, as one ONNX file that needs neither torch nor this package.

    The graph maps ``images`` (n, height, width, bands), float32 in the units of the training images, to
    ``probabilities`` (n, classes, height, width) and ``ids`` (n, height, width), for any n, height and width. It holds
    standardisation, resizing, members with their folds and test-time augmentation, temperatures, pool and decision.
    Before the file is written, the graph is compared with the networks on validation images of three sizes.

    Args:
        model: its name, the unique beginning of its name, or its directory.
        out: the new file; by default the name of the model with the ending ``.onnx``, in the working directory.
        to: ``onnx``.
        precision: ``fp32``; ``fp16`` for weights of half the size; or ``int8`` for convolutions and linear layers in 8
            bits, with scales from training images.
        data: the data that the model was trained on, if they moved.
        tta: test-time augmentation of every member instead of the one that it was trained with.
        decide: decision instead of the model's own, see `ensemble.inference.load.load`.
        runs: folder in which names are looked up.
        progress: callback that receives the progress.
        on_note: called with each sentence about what is different from ``ens predict``.

    Raises:
        EnsError: a package is missing, a part of the model cannot be in a graph, the data are gone, or the graph
            differs from the networks by more than 1e-4 in a probability (``fp32``).
    """
    check_packages()
    kind = _checked(to, precision)
    predictor = load(model, "cpu", tta, decide=decide, runs=runs)
    check_pool(predictor.pool)
    path = Path(f"{predictor.name}.onnx") if out is None else Path(out)
    _check_new(path)
    images = open_own_images(predictor, data, progress)
    for note in _notes(predictor, images):
        on_note(note)
    progress("writing the graph", 0, 1)
    content = model_as_onnx(predictor, kind, images)
    progress("writing the graph", 1, 1)
    return _measured_and_saved(predictor, kind, content, path, images, progress)


def _measured_and_saved(
    predictor: Predictor, kind: Precision, content: bytes, path: Path, images: OwnImages, progress: Progress
) -> Exported:
    networks = networks_of(predictor)
    graph = _run(content)
    parity = compare(graph, networks, three_sizes(images))
    _check_parity(parity, kind, predictor.name)
    change = None
    if kind != "fp32":
        change = change_of_score(graph, networks, images, predictor.values, progress)
    times = latencies(lambda threads: _run(content, threads), networks, images.image(images.held_out[0]))
    write_bytes(path, content)
    weights = sum(
        weight.numel() * weight.element_size()
        for member in predictor.networks.members
        for network in member.networks
        for weight in network.state_dict().values()
    )
    return Exported(path, predictor.name, kind, len(content), weights, parity, times, change)


def _checked(to: str, precision: str) -> Precision:
    if to not in FORMATS:
        raise UnknownName("format", to, FORMATS)
    if precision not in get_args(Precision):
        raise UnknownName("precision", precision, get_args(Precision))
    return cast(Precision, precision)


def _check_new(path: Path) -> None:
    if path.suffix.lower() != ".onnx":
        raise EnsError(f"expected a file that ends in .onnx, got {path}; give FILE.onnx")
    check_file(path)
    if path.exists():
        raise EnsError(f"expected a new file, but {path} exists; choose another name, or delete it")


def _notes(predictor: Predictor, images: OwnImages) -> list[str]:
    notes = list(predictor.notes)
    if predictor.decide_from == "images":
        notes.append(
            "the graph decides by the expected scores of the validation images, but `ens predict` by those of the"
            " images that it predicts, so masks differ"
        )
    half = [member.name for member in predictor.members if member.settings.precision == "bf16"]
    if half:
        notes.append(
            f"the graph computes in 32 bits what `ens predict` computes in bf16 ({', '.join(half)}), so their"
            " probabilities differ in the third digit"
        )
    whole = [
        member
        for member in predictor.networks.members
        if member.settings.crop is not None and member.resizing.size is None and member.reach is None
    ]
    if whole:
        notes.append(
            "the graph predicts an image at once, but `ens predict` cuts it into tiles of"
            f" {min(member.side for member in whole)} pixels for a network that looks at whole images and was trained"
            " on crops, so larger images get other probabilities; give the graph such tiles"
        )
    if images.seen:
        notes.append("networks of folds have seen the validation images of the other folds, on which this is measured")
    return notes


def _run(content: bytes, threads: int = 1) -> Run:
    session = open_session(content, threads)
    return lambda images_nhwc: run_session(session, images_nhwc)


def _check_parity(parity: Parity, kind: Precision, name: str) -> None:
    if np.isnan(parity.largest):
        raise EnsError(
            f"the {kind} graph of {name} gives numbers that are not finite; export it with another precision"
        )
    if kind == "fp32" and parity.largest > TOLERANCE:
        sizes = ", ".join(f"{height}x{width}" for height, width in parity.sizes)
        raise EnsError(
            f"expected a graph with the probabilities of the networks of {name} to {TOLERANCE:g}, but it differs by"
            f" {parity.largest:.1e} on images of {sizes}; predict with this package"
        )

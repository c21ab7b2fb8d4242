"""Write a torch module as an ONNX graph for images of any number and size, and load it in onnxruntime."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ensemble.core.errors import EnsError
from ensemble.export.any_size import average_cells

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

IMAGES, PROBABILITIES, IDS = "images", "probabilities", "ids"
OPSET = 18
LARGEST = 2_000_000_000  # bytes of a file of protocol buffers
SMALLEST = 2  # torch writes this limit, also for networks that take a single pixel
EXAMPLE = (2, 96, 160)  # of no importance, but for torch a side of 1 is no symbol


def check_packages() -> None:
    """Check that the packages of the extra ``export`` are installed.

    Raises:
        EnsError: one is missing.
    """
    try:
        for name in ("onnx", "onnxscript", "onnxruntime"):
            importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise EnsError(
            f"expected the packages onnx, onnxscript and onnxruntime, found no module '{error.name}'; run"
            " `pip install 'ens-toolkit[export]'`"
        ) from None


def to_onnx(graph: nn.Module, bands: int) -> ModelProto:
    """Return a module from images (n, h, w, bands) to probabilities and ids as an ONNX graph, n, h and w free.

    Raises:
        Exception: torch or onnxscript cannot write an operation, or some decision depends on the size of the images.
            A decision that shows neither here nor as a limit of a size shows as other probabilities at other sizes.
    """
    free = torch.export.Dim.DYNAMIC
    with _quiet(), torch.no_grad():
        program = torch.export.export(
            graph, (torch.rand(*EXAMPLE, bands),), dynamic_shapes=({0: free, 1: free, 2: free},), strict=False
        )
        _check_sizes(program)
        program = program.run_decompositions({torch.ops.aten.adaptive_avg_pool2d.default: average_cells})
        written = torch.onnx.export(
            program, (), dynamo=True, verbose=False, opset_version=OPSET, input_names=[IMAGES],
            output_names=[PROBABILITIES, IDS],
        )  # fmt: skip
    assert written is not None
    proto: Any = written.model_proto
    _name_axes(proto)
    _forget_traces(proto)
    return proto


def _check_sizes(program: torch.export.ExportedProgram) -> None:
    """Raise an error if the program is right for some sizes only, because the module decides by the size."""
    for limits in program.range_constraints.values():
        if limits.lower > SMALLEST or limits.upper < LARGEST:
            raise EnsError(f"it decides by the size of the images, here at {limits.lower} to {limits.upper}")


@contextmanager
def _quiet() -> Generator[None]:
    """Hide what torch and onnxscript say about their own code."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _name_axes(proto: Any) -> None:
    """Name the free axes n, height and width."""
    axes = [axis.dim_param for axis in proto.graph.input[0].type.tensor_type.shape.dim]
    names = dict(zip(axes[:3], ("n", "height", "width"), strict=True))
    for value in (*proto.graph.input, *proto.graph.output):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = names.get(axis.dim_param, axis.dim_param)
    del proto.graph.value_info[:]  # sizes inside of the graph, in the old names; whoever needs them infers them


def _forget_traces(proto: Any) -> None:
    """Remove what torch notes about each node: names and lines of files of this machine, most of a small file."""
    for part in (
        proto,
        proto.graph,
        *proto.graph.node,
        *proto.graph.input,
        *proto.graph.output,
        *proto.graph.initializer,
    ):
        del part.metadata_props[:]
        part.doc_string = ""


def describe(proto: Any, facts: Mapping[str, str]) -> None:
    """Set the metadata of a graph."""
    del proto.metadata_props[:]
    for key, value in facts.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value


def to_bytes(proto: Any) -> bytes:
    """Return the content of the file.

    Raises:
        EnsError: it is too large for one file.
    """
    size = proto.ByteSize()
    if size > LARGEST:
        raise EnsError(
            f"expected a graph of at most {LARGEST / 1e9:.0f} GB, which one ONNX file can hold, got {size / 1e9:.1f}"
            " GB; export with precision fp16 or int8, or fewer members"
        )
    return proto.SerializeToString()


def open_session(content: bytes, threads: int = 1) -> InferenceSession:
    """Return a graph ready to run on the processor."""
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def run_session(session: InferenceSession, images_nhwc: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Return probabilities (n, classes, h, w) and ids (n, h, w) of images in the units of the training images."""
    probs, ids = session.run([PROBABILITIES, IDS], {IMAGES: images_nhwc.astype(np.float32)})
    return np.asarray(probs), np.asarray(ids)

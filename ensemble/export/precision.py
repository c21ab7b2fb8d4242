"""Smaller numbers in a graph: convolutions and matrices in 8 bits, by onnxruntime."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ensemble.export.onnx_graph import IMAGES

if TYPE_CHECKING:
    from onnx import ModelProto

QUANTISED = ("Conv", "Gemm", "MatMul")


def to_int8(proto: ModelProto, images: Iterable[NDArray[np.float32]]) -> ModelProto:
    """Return the graph with the weights of convolutions and linear layers, and what goes into them, in 8 bits.

    Weights have a scale per channel; what goes into a layer has one, from the smallest to the largest value that the
    given images lead to there. All else stays float32: standardisation, softmax, pool and decision.

    Args:
        proto: a graph in float32.
        images: images (h, w, bands) in the units of the training images, from which the scales are taken.

    Reference:
        Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference,
        2018.
    """
    import onnx  # noqa: PLC0415
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static  # noqa: PLC0415

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches: Iterator[NDArray[np.float32]] = iter(images)

        def get_next(self) -> dict[str, Any] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
            image = next(self.batches, None)
            return None if image is None else {IMAGES: image[None]}

    with tempfile.TemporaryDirectory(prefix="ens-export-") as folder, _quiet():
        source, out = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(proto, source)
        quantize_static(
            source,
            out,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=_without_weights(proto),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(out)


def _without_weights(proto: Any) -> list[str]:
    """Return the names of the nodes whose factors all depend on the image: resizing, pooling, attention."""
    constant = {tensor.name for tensor in proto.graph.initializer}
    return [
        node.name
        for node in proto.graph.node
        if node.op_type in QUANTISED and not any(name in constant for name in node.input)
    ]


@contextmanager
def _quiet() -> Generator[None]:
    """Hide the advice of onnxruntime to prepare a graph, which torch has done already."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)

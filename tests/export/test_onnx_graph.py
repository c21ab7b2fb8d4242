"""Every architecture becomes an ONNX graph that gives the same for images of any number and size."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ensemble.architectures import ARCHITECTURES
from ensemble.core.errors import EnsError
from ensemble.export.onnx_graph import check_packages, describe, open_session, run_session, to_bytes, to_onnx
from ensemble.testing.architectures import build, images

FAST = "unet-baseline"
SIZES = ((1, 64, 96), (3, 37, 53), (1, 130, 71), (2, 1, 5))


class Plain(nn.Module):
    """An architecture with the inputs and outputs of a whole model."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images_nhwc: Tensor) -> tuple[Tensor, Tensor]:
        probs_nchw = self.body(images_nhwc.permute(0, 3, 1, 2)).softmax(1)
        return probs_nchw, probs_nchw.argmax(1)


def smaller(name: str) -> dict[str, Any]:
    """Two levels for the presets of the U-Net: more repeat the same operations, as `unet` does at its defaults here."""
    if name == "cascade":
        return {"first": "unet(depth=2)", "second": "unet(depth=2)"}
    return {"depth": 2} if "bottleneck" in ARCHITECTURES.options(name) and name != "unet" else {}


def exported(name: str) -> tuple[Plain, Any]:
    """The architecture with statistics of batches as after some training, and its graph."""
    body = build(name, **smaller(name)).eval()
    for module in body.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    network = Plain(body).eval()
    return network, to_onnx(network, 1)


@cache
def fast() -> tuple[Plain, Any]:
    """The graph that two tests look at; neither changes more than its metadata."""
    return exported(FAST)


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=() if one == FAST else pytest.mark.slow) for one in ARCHITECTURES]
)
def test_every_architecture_gives_the_same_at_any_size(name: str) -> None:
    network, proto = fast() if name == FAST else exported(name)
    session = open_session(to_bytes(proto))
    for number, height, width in SIZES:
        batch_nhwc = images(number, height, width, 1)
        probs_nchw, _ = run_session(session, batch_nhwc.numpy())
        with torch.no_grad():
            expected_nchw = network(batch_nhwc)[0].numpy()
        assert probs_nchw.shape == (number, 5, height, width)
        np.testing.assert_allclose(probs_nchw, expected_nchw, atol=1e-4)


def test_a_graph_names_its_axes_and_says_nothing_about_this_machine() -> None:
    _, proto = fast()
    describe(proto, {"model": "small"})
    content = to_bytes(proto)
    session = open_session(content)
    assert session.get_inputs()[0].shape == ["n", "height", "width", 1]
    assert session.get_outputs()[0].shape == ["n", 5, "height", "width"]
    assert session.get_modelmeta().custom_metadata_map == {"model": "small"}
    assert b".py" not in content
    assert b"site-packages" not in content


def test_a_network_that_decides_by_the_size_is_no_graph_of_any_size() -> None:
    class Sized(nn.Module):
        def forward(self, images_nchw: Tensor) -> Tensor:
            large = images_nchw.shape[3] > 128
            return torch.cat([images_nchw, images_nchw * (2 if large else 3)], 1)

    with pytest.raises(EnsError, match="decides by the size of the images, here at 129 to"):
        to_onnx(Plain(Sized()).eval(), 1)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    check_packages()
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(EnsError, match=r"found no module 'onnxscript'; run `pip install 'ens-toolkit\[export\]'`"):
        check_packages()


def test_a_graph_of_more_than_a_file_can_hold_is_refused() -> None:
    class Huge:
        def ByteSize(self) -> int:  # noqa: N802
            return 3_000_000_000

    with pytest.raises(
        EnsError, match=r"at most 2 GB, which one ONNX file can hold, got 3.0 GB; export with precision"
    ):
        to_bytes(Huge())

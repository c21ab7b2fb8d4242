"""The content of the ONNX file of a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor, nn

from ensemble.architectures import ARCHITECTURES
from ensemble.core.errors import EnsError
from ensemble.export.onnx_model import model_as_onnx
from ensemble.export.own_images import open_own_images
from ensemble.inference.load import load
from ensemble.runs.member import Member


def test_an_architecture_that_decides_by_the_size_is_named(
    train_tiny: Callable[..., Member], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ARCHITECTURES, "_own", dict(ARCHITECTURES._own))  # pyright: ignore[reportPrivateUsage]

    @ARCHITECTURES.register("sized")
    class Sized(nn.Module):  # pyright: ignore[reportUnusedClass]
        """A network that decides by the width of the images."""

        def __init__(self, in_channels: int, classes: int) -> None:
            super().__init__()
            self.head = nn.Conv2d(in_channels, classes, 1)

        def forward(self, images_nchw: Tensor) -> Tensor:
            return self.head(images_nchw) * (2 if images_nchw.shape[3] > 128 else 3)

    member = train_tiny(tmp_path / "runs", arch="sized")
    predictor = load(member.path)
    with pytest.raises(EnsError, match=r"the architecture 'sized' cannot be written .* \(it decides by the size .*129"):
        model_as_onnx(predictor, "fp32", open_own_images(predictor, None))

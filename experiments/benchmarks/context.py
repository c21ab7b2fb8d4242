"""Plug-in: what kinds of ground does the whole tile show? A head on the deepest features, and a branch to every pixel.

    ens study experiments/benchmarks/context.toml --data mars.npz --plugin experiments/benchmarks/context.py

The head maps the mean of the encoder's last features to one logit per class. In training it is supervised with every
labelled pixel of the tile, at half the weight of the pixels' own loss (as in deep supervision), so it learns the shares
of the classes on the labelled part, and void says nothing. With ``branch`` its logits are added to those of each pixel
(as in EncNet, Zhang et al. 2018, whose head predicts which classes are there).
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from ensemble.architectures.registry import ARCHITECTURES


class WithContext(nn.Module):
    """A network with an encoder, and a head for the whole image."""

    def __init__(self, body: nn.Module, classes: int, *, branch: bool) -> None:
        super().__init__()
        self.body = body
        self.branch = branch
        encoder = cast(Any, body).network.encoder
        self.head = nn.Linear(encoder.out_channels[-1], classes)
        nn.init.zeros_(self.head.weight)

    def supervised(self, images_nchw: Tensor) -> list[Tensor]:
        """Return the logits of the pixels and those of the image at every pixel."""
        deepest: list[Tensor] = []
        hook = cast(Any, self.body).network.encoder.register_forward_hook(lambda *given: deepest.append(given[-1][-1]))
        logits_nchw = self.body(images_nchw)
        hook.remove()
        image_nc = self.head(deepest[0].mean((2, 3)))
        image_nchw = image_nc[:, :, None, None].expand_as(logits_nchw)
        return [logits_nchw + image_nchw if self.branch else logits_nchw, image_nchw]

    def forward(self, images_nchw: Tensor) -> Tensor:
        """Return the logits of the pixels."""
        return self.supervised(images_nchw)[0]


@ARCHITECTURES.register("context")
def context(
    in_channels: int, classes: int, *, encoder: str, encoder_weights: str | None = None, branch: bool = False
) -> nn.Module:
    """U-Net of segmentation-models-pytorch with a head for the classes of the whole image."""
    body = ARCHITECTURES.create("smp-unet", in_channels, classes, encoder=encoder, encoder_weights=encoder_weights)
    return WithContext(body, classes, branch=branch)

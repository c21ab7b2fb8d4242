"""Up-sampling of the U-Net family by name, and the initial weights of all its convolutions.

``UPS`` maps a name to ``builder(in_channels, out_channels)``; the module that it builds doubles the size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

Up = Literal["transpose", "bilinear", "pixel-shuffle"]


def transposed_up(in_channels: int, out_channels: int) -> nn.Module:
    """Return a transposed convolution 2x2 of stride 2, which learns how to double the size.

    It has no bias, because a convolution and a norm follow.
    """
    return nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2, bias=False)


def bilinear_up(in_channels: int, out_channels: int) -> nn.Module:
    """Return a 1x1 convolution and a bilinear interpolation, which double the size without checkerboards.

    Both are linear and commute. The convolution comes first, because it then sees a quarter of the pixels.
    """
    conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
    return nn.Sequential(conv, nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))


class PixelShuffleUp(nn.Conv2d):
    """Double the size with a convolution 3x3 to four times the channels; every four become 2x2 pixels of one channel.

    ``out[c, 2 i + a, 2 j + b] = conv(x)[4 c + 2 a + b, i, j]``

    With a 1x1 kernel it would be `transposed_up`. `init_he` makes the four pixels equal at the start, so the module
    begins as a convolution with nearest-neighbour enlargement and has no checkerboard to unlearn.

    Args:
        in_channels: channels of x.
        out_channels: channels of the output.

    Reference:
        Shi et al., Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional
        Neural Network, 2016, equations 3 and 4; Aitken et al., Checkerboard artifact free sub-pixel convolution, 2017.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, 4 * out_channels, 3, padding=1, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """Map (n, in_channels, h, w) to (n, out_channels, 2 h, 2 w)."""
        return F.pixel_shuffle(super().forward(input), 2)


UPS: dict[str, Callable[[int, int], nn.Module]] = {
    "transpose": transposed_up,
    "bilinear": bilinear_up,
    "pixel-shuffle": PixelShuffleUp,
}


def init_he(network: nn.Module) -> None:
    """Draw every convolution's weight from N(0, 2 / fan_in); biases start at 0.

    In a transposed convolution whose stride is its kernel size, one tap reaches each output pixel. Its fan-in is
    therefore its number of input channels, which torch's own rule does not take into account. No ReLU follows it, hence
    N(0, 1 / fan_in). The same holds for a pixel shuffle, whose four pixels of a channel start with equal weights.

    Reference:
        He et al., Delving Deep into Rectifiers, 2015, equation 10.
    """
    for module in network.modules():
        if isinstance(module, nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=module.in_channels**-0.5)
        elif isinstance(module, PixelShuffleUp):
            first = nn.init.kaiming_normal_(module.weight.detach()[::4].clone(), nonlinearity="linear")
            module.weight.data.copy_(first.repeat_interleave(4, dim=0))
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)

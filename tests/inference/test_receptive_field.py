"""The reach of networks is measured."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ensemble.architectures import ARCHITECTURES
from ensemble.inference.receptive_field import receptive_radius


@pytest.mark.parametrize(("layers", "kernel", "dilation"), [(1, 3, 1), (3, 5, 1), (2, 3, 8), (1, 1, 1)])
def test_convolutions_by_hand(layers: int, kernel: int, dilation: int) -> None:
    each = [nn.Conv2d(2, 2, kernel, padding="same", dilation=dilation) for _ in range(layers)]
    assert receptive_radius(nn.Sequential(*each).eval(), 2) == layers * dilation * (kernel - 1) // 2


class _Mean(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images + images.mean((2, 3), keepdim=True)


def test_a_network_that_averages_the_image_looks_at_all_of_it() -> None:
    assert receptive_radius(_Mean(), 1) is None


def test_a_small_u_net_is_bounded_and_no_pixel_beyond_its_radius_counts() -> None:
    torch.manual_seed(0)
    network = ARCHITECTURES.create("unet-baseline", 1, 3, depth=2).eval()
    radius = receptive_radius(network, 1)
    assert radius is not None
    assert 8 <= radius <= 64
    image = torch.rand(1, 1, 192, 192)
    changed = image.clone()
    changed[..., 96 + 16 + radius + 1 :] = 0  # beyond the reach of the block in the middle
    block = slice(96 - 16, 96 + 16)
    with torch.inference_mode():
        one, other = network(image), network(changed)
    torch.testing.assert_close(one[..., block, block], other[..., block, block], atol=1e-5, rtol=0)


def test_a_pyramid_looks_at_whole_images() -> None:
    assert receptive_radius(ARCHITECTURES.create("pspnet", 1, 3).eval(), 1) is None

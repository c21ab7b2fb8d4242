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
    assert receptive_radius(ARCHITECTURES.create("pspnet", 1, 3, encoder="resnet18").eval(), 1) is None


class _Shift(nn.Module):
    """Each output pixel is the sum of two input pixels: far below and near to the right."""

    def forward(self, images: Tensor) -> Tensor:
        return images.roll((-40, 0), (2, 3)) + images.roll((0, -3), (2, 3))


@pytest.mark.parametrize("block", [32, 64, 256])  # the last one makes both images square
def test_the_longer_of_both_directions_counts(block: int) -> None:
    assert receptive_radius(_Shift(), 1, block=block) == 40


@pytest.mark.parametrize(
    ("name", "options"), [("unet", {"filters": 8}), ("linknet", {}), ("convnext-unet", {"filters": 8})]
)
def test_narrow_images_give_the_radius_of_a_square_one(name: str, options: dict[str, int]) -> None:
    torch.manual_seed(0)
    network = ARCHITECTURES.create(name, 1, 3, **options).eval()
    radius = receptive_radius(network, 1)
    assert radius is not None
    first, end, size = 256, 288, 544
    images = torch.rand(1, 1, size, size, requires_grad=True)
    outputs = network(images)[..., first:end, first:end]
    (gradient,) = torch.autograd.grad((outputs * torch.randn(outputs.shape)).sum(), images)
    rows, columns = torch.nonzero(gradient[0, 0], as_tuple=True)
    farthest = max(int(first - rows.min()), int(rows.max() - end + 1), int(columns.max() - end + 1))
    assert farthest <= radius <= farthest + 8


def test_the_weights_are_trained_afterwards_as_before() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3))
    network[0].bias.requires_grad_(False)  # type: ignore[union-attr]
    before = [weight.requires_grad for weight in network.parameters()]
    receptive_radius(network.eval(), 1)
    assert [weight.requires_grad for weight in network.parameters()] == before
    assert all(weight.grad is None for weight in network.parameters())

"""Measure how far a network looks: the distance beyond which an input pixel changes no output pixel."""

from __future__ import annotations

import torch
from torch import nn

BLOCK = 32  # output pixels of a side whose inputs are looked for; networks halve images at most five times
SIZES = (256, 512, 1024)  # pixels of a side of the inputs that are tried
SEEDS = 3


def receptive_radius(network: nn.Module, bands: int, device: str = "cpu") -> int | None:
    """Return the radius in pixels of the receptive field, or None if a network looks at whole images.

    A block of output pixels, each with a random weight, is summed, and its gradient with respect to random images is
    computed. The radius is the largest distance from the block at which a gradient is not zero.

    Args:
        network: a network in evaluation mode.
        bands: bands of its images.
        device: device of the network.
    """
    for size in SIZES:
        reach = max(_reach(network, bands, size, seed, device) for seed in range(SEEDS))
        if reach < (size - BLOCK) // 2:
            return reach
    return None


def _reach(network: nn.Module, bands: int, size: int, seed: int, device: str) -> int:
    """Return the largest distance of an input pixel that counts, at most half of what surrounds the block."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(1, bands, size, size, generator=generator).to(device).requires_grad_()
    first = (size - BLOCK) // 2
    with torch.enable_grad():
        block = network(images)[..., first : first + BLOCK, first : first + BLOCK]
        weights = torch.randn(block.shape, generator=generator).to(device)
        (gradient,) = torch.autograd.grad((block.float() * weights).sum(), images)
    rows, columns = torch.nonzero(gradient.abs().sum((0, 1)), as_tuple=True)
    if not len(rows):
        return 0
    end = first + BLOCK - 1
    return max(0, *(int(place) for at in (rows, columns) for place in (first - at.min(), at.max() - end)))

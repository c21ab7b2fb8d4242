"""Measure how far a network looks: the distance beyond which an input pixel changes no output pixel."""

from __future__ import annotations

import torch
from torch import nn

from ensemble.inference.tiles import GRID

VERSION = 1  # of the way it is measured
AROUND = (128, 256, 512)  # pixels around the block that are tried
SEEDS = 3


def receptive_radius(network: nn.Module, bands: int, device: str = "cpu", block: int = GRID) -> int | None:
    """Return the radius in pixels of the receptive field, or None if a network looks at whole images.

    A block of output pixels, each with a random weight, is summed, and its gradient with respect to random images is
    computed. The radius is the largest distance from the block at which a gradient is not zero. Pixels of one block may
    look farther to one side by up to the size of the block, so what tiles leave out are whole blocks.

    Args:
        network: a network in evaluation mode.
        bands: bands of its images.
        device: device of the network.
        block: output pixels of a side whose inputs are looked for: after these a network treats pixels alike.
    """
    for least in AROUND:
        reach, around = 0, -(-least // block) * block  # the block begins where a tile could
        for seed in range(SEEDS):
            reach = max(reach, _reach(network, bands, around, seed, device, block))
            if reach >= around:
                break
        else:
            return reach
    return None


def _reach(network: nn.Module, bands: int, around: int, seed: int, device: str, block: int) -> int:
    """Return the largest distance of an input pixel that counts from the block, at most what surrounds it."""
    size, first, end = 2 * around + block, around, around + block
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(1, bands, size, size, generator=generator).to(device).requires_grad_()
    with torch.enable_grad():
        outputs = network(images)[..., first:end, first:end]
        weights = torch.randn(outputs.shape, generator=generator).to(device)
        (gradient,) = torch.autograd.grad((outputs.float() * weights).sum(), images)
    rows, columns = torch.nonzero(gradient.abs().sum((0, 1)), as_tuple=True)
    if not len(rows):
        return 0
    return max(0, *(int(place) for at in (rows, columns) for place in (first - at.min(), at.max() - end + 1)))

"""Measure how far a network looks: the distance beyond which an input pixel changes no output pixel."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import nn

from ensemble.inference.tiles import GRID

VERSION = 3  # of the way it is measured
AROUND = (128, 256, 512)  # pixels around the block that are tried
SEEDS = 3
ACROSS = 3  # blocks across the direction in which is looked


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
    with _frozen(network):
        for least in AROUND:
            reach, around = 0, -(-least // block) * block  # the block begins where a tile could
            for seed in range(SEEDS):
                reach = max(reach, _reach(network, bands, around, seed, device, block))
                if reach >= around:
                    break
            else:
                return reach
    return None


@contextmanager
def _frozen(network: nn.Module) -> Generator[None]:
    """Compute no gradient of weights during the block: layers then keep less of what they computed."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


def _reach(network: nn.Module, bands: int, around: int, seed: int, device: str, block: int) -> int:
    """Return the largest distance of an input pixel that counts from the block, at most what surrounds it.

    Two narrow images are looked at, a wide and a high one, because a square one takes ten times the memory and time.
    """
    generator = torch.Generator().manual_seed(seed)
    along, across = 2 * around + block, ACROSS * block
    distances = [0]
    for axis, (height, width) in ((-1, (across, along)), (-2, (along, across))):
        images = torch.rand(1, bands, height, width, generator=generator).to(device).requires_grad_()
        rows, columns = (slice((side - block) // 2, (side + block) // 2) for side in (height, width))
        with torch.enable_grad():
            outputs = network(images)[..., rows, columns]
            weights = torch.randn(outputs.shape, generator=generator).to(device)
            (gradient,) = torch.autograd.grad((outputs.float() * weights).sum(), images)
        others = tuple(other for other in range(-4, 0) if other != axis)
        places = torch.nonzero(gradient.abs().sum(others)).flatten().tolist()
        if places:
            distances += [around - places[0], places[-1] - around - block + 1]
    return max(distances)

"""Draw the height textures of the embedded sample: pebbled soil, cracked plates, ripples. Each wraps around."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

Field = NDArray[np.float32]
Rng = np.random.Generator

SIDE = 256  # pixels along a texture
LEVELS = 4  # blurred copies of a texture (sigma 0, 1, 2, 4 texels) for distant ground


@dataclass(frozen=True)
class Bank:
    """Hold the textures of all scenes: ``heights_gvlyx`` (3 grounds, variants, levels, SIDE, SIDE), ``smooth_vyx``."""

    heights_gvlyx: Field
    smooth_vyx: Field


def _noise(rng: Rng, slope: float, low: float = 1.0) -> Field:
    """Return periodic fractal noise (SIDE, SIDE): amplitude 1/f^slope above ``low`` cycles, mean 0, deviation 1."""
    fy, fx = np.fft.fftfreq(SIDE)[:, None] * SIDE, np.fft.rfftfreq(SIDE)[None] * SIDE
    radius = np.hypot(fy, fx)
    gain = np.where(radius >= low, np.maximum(radius, 1.0) ** -slope, 0.0)
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((SIDE, SIDE))) * gain, s=(SIDE, SIDE))
    return (field / field.std()).astype(np.float32)


def _soil(rng: Rng) -> Field:
    """Return fractal dust with pebbles of three sizes, most of them small."""
    height = 0.22 * _noise(rng, 1.1, low=4)
    for sigma, density in ((0.8, 0.035), (1.2, 0.012), (2.0, 0.004)):
        seeds = (rng.random((SIDE, SIDE)) < density) * rng.uniform(0.3, 1.0, (SIDE, SIDE))
        bumps = ndimage.gaussian_filter(seeds, sigma, mode="wrap") * 2 * np.pi * sigma**2
        height = height + 3.0 * sigma * np.clip(2 * bumps - 0.4, 0, 1)  # clipped: flat tops, sharp rims
    return height.astype(np.float32)


def _bedrock(rng: Rng) -> Field:
    """Return tilted polygonal plates (Voronoi cells of warped points) with cracks and dust between them."""
    points = rng.uniform(0, SIDE, (int(rng.integers(130, 380)), 2))
    grid = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij"), -1).astype(float)
    grid += 3.0 * np.stack([_noise(rng, 1.8, low=3), _noise(rng, 1.8, low=3)], -1)
    distance, nearest = KDTree(points, boxsize=SIDE).query(grid % SIDE, k=2)
    cell = np.asarray(nearest)[..., 0]
    delta = (grid - points[cell] + SIDE / 2) % SIDE - SIDE / 2
    tilt = rng.normal(0, 0.09, (len(points), 2))[cell]
    crack = np.exp(-(((distance[..., 1] - distance[..., 0]) / 2.2) ** 2))
    plates = rng.normal(0, 1.5, len(points))[cell] + (tilt * delta).sum(-1) - 2.6 * crack
    dust = np.quantile(plates, rng.uniform(0.05, 0.45))  # dust fills low places, so some plates stand alone
    return (np.maximum(plates, dust) - dust - 1.0 + 0.3 * _noise(rng, 1.0, low=4)).astype(np.float32)


def _sand(rng: Rng) -> Field:
    """Return ripples on soft dunes: a wave with sharp crests and a phase that wanders."""
    y, x = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
    waves = int(rng.integers(20, 34))
    phase = 2 * np.pi * (waves * y + int(rng.integers(-6, 7)) * x) / SIDE + 1.6 * _noise(rng, 1.9, low=2)
    crests = 1.0 - np.abs(np.sin(phase / 2)) if waves % 2 == 0 else 0.5 + 0.5 * np.sin(phase)
    strength = np.clip(0.6 + 0.5 * _noise(rng, 2.2), 0.05, 1.5)
    return (2.2 * strength * crests + 1.2 * _noise(rng, 2.4) + 0.15 * _noise(rng, 0.6)).astype(np.float32)


def draw_bank(rng: Rng, variants: int = 2) -> Bank:
    """Draw the textures that all scenes share."""
    heights = [[makers(rng) for _ in range(variants)] for makers in (_soil, _bedrock, _sand)]
    levels = [[[ndimage.gaussian_filter(h, s, mode="wrap") for s in (0, 1, 2, 4)] for h in row] for row in heights]
    return Bank(np.array(levels, np.float32), np.stack([_noise(rng, 2.4, low=2) for _ in range(6)]))


def sample_texture(texture: Field, y: Field, x: Field, level: Field | None = None) -> Field:
    """Return the values of a texture (SIDE, SIDE), or of its levels, at fractional places that wrap around."""
    where = [y, x] if level is None else [level, y, x]
    return np.asarray(ndimage.map_coordinates(texture, where, order=1, mode="grid-wrap"), np.float32)

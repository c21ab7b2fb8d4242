"""Draw the embedded sample: Mars-like terrain from a seed, so that every command runs without a download.

A *scene* is a plane of three grounds, seen in perspective under one sun. A ground is a height texture: pebbled soil,
cracked plates or ripples. Heights are mixed where regions meet, and shaded once. So classes differ by texture, while
brightness, contrast and sun differ by scene. Lengths are in *units* of 1/64 of a tile's height.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ensemble.core.errors import EnsError
from ensemble.data.formats.sample.textures import LEVELS, SIDE, Bank, Field, Rng, draw_bank, sample_texture

Mask = NDArray[np.uint8]

CLASSES = ("soil", "bedrock", "sand", "big rock")
BIG_ROCK = 4
ROCK_SHARE = 0.14  # share of the tiles that hold a big rock
TRAIN_PER_OUTLIER = 48
# The main ground of each scene, in turn: bedrock is the most frequent ground, sand the rarest.
DOMINANT = np.array([0, 1, 2, 1, 0, 2, 1, 0])


@dataclass(frozen=True)
class Terrain:
    """Tiles in the homework layout; masks hold 0 void, 1 soil, 2 bedrock, 3 sand, 4 big rock.

    Attributes:
        training_set: grey images and masks, (n, 2, h, w) uint8.
        training_groups: scene of each tile, (n,).
        test_set: grey images of other scenes, (m, h, w) uint8.
        classes: names of the ids 1 to 4.
    """

    training_set: Mask
    training_groups: NDArray[np.str_]
    test_set: Mask
    classes: tuple[str, ...] = CLASSES


@dataclass(frozen=True)
class _Scene:
    """Hold what the tiles of one group share: camera, sun, exposure, and the choice and strength of the textures."""

    horizon: float  # row of the horizon in the scene, units
    stand_off: float  # camera height as rows between the horizon and infinite compression, units
    turn: float  # rotation of the ground textures, radians
    offset_g: Field  # place at which each ground's texture starts
    variant_g: NDArray[np.int64]
    zoom_g: Field
    relief_g: Field
    albedo_g: Field
    rock_albedo: float
    tone_g: Field  # how much brighter high parts of each ground are
    bias_g: Field  # bid of each ground for area
    light_yx: Field  # direction in which sunlight travels over the ground
    exposure: float
    contrast: float
    haze: float
    blur: float
    grain: float


def _scene(rng: Rng, dominant: int) -> _Scene:
    bias = rng.normal(-0.9, 0.7, 3)
    bias[dominant] = rng.uniform(0.7, 1.6)
    angle = rng.uniform(-0.7, 0.7)  # the sun stands to the left, as on tiles of one season
    return _Scene(
        horizon=float(rng.choice([-90.0, -35.0, 6.0, 16.0], p=[0.3, 0.3, 0.2, 0.2]) + rng.uniform(-6, 6)),
        stand_off=float(rng.uniform(25, 60)),
        turn=float(rng.normal(0, 0.35)),
        offset_g=rng.uniform(0, SIDE, (3, 2)).astype(np.float32),
        variant_g=rng.integers(0, 2, 3),
        zoom_g=rng.uniform(0.6, 1.15, 3).astype(np.float32),
        relief_g=(np.array([1.0, 0.9, 0.8]) * rng.uniform(0.7, 1.4, 3)).astype(np.float32),
        albedo_g=(np.array([0.0, 0.2, -0.16]) + rng.normal(0, 0.07, 3)).astype(np.float32),
        rock_albedo=float(rng.uniform(0.4, 0.6)),
        tone_g=(np.array([-0.8, 0.5, 0.1]) + rng.normal(0, [0.4, 0.25, 0.1])).astype(np.float32),
        bias_g=bias.astype(np.float32),
        light_yx=np.array([np.sin(angle), np.cos(angle)], np.float32),
        exposure=float(rng.uniform(65, 100)),
        contrast=float(rng.uniform(0.22, 0.42)),
        haze=float(rng.uniform(-0.25, 0.25)),
        blur=float(rng.uniform(0.2, 0.65)),
        grain=float(rng.uniform(0.6, 1.8)),
    )


def _ground(scene: _Scene, bank: Bank, rows: Field, cols: Field) -> tuple[Field, Field]:
    """Return heights of the three grounds as the camera sees them, and their bids for each pixel, both (3, h, w)."""
    depth = np.maximum(rows - scene.horizon, 0) + scene.stand_off
    near = np.float32(128 - scene.horizon + scene.stand_off) * 0.75
    scale = near / depth
    ahead, aside = 2.0 * near * scale, (cols - 192) * scale
    level = np.clip(1.2 * np.log2(scale), 0, LEVELS - 1).astype(np.float32)
    cos, sin = np.cos(scene.turn), np.sin(scene.turn)
    heights, wants = [], []
    for ground in range(3):
        dy, dx = scene.offset_g[ground]
        y, x = (cos * ahead + sin * aside) / scene.zoom_g[ground], (cos * aside - sin * ahead) / scene.zoom_g[ground]
        texture = bank.heights_gvlyx[ground, scene.variant_g[ground]]
        heights.append(scene.relief_g[ground] * sample_texture(texture, y + dy, x + dx, level) / np.sqrt(scale))
        cover = sample_texture(bank.smooth_vyx[(ground + scene.variant_g[0]) % 6], 1.1 * rows + dx, 0.6 * cols + dy)
        wants.append(cover + scene.bias_g[ground])
    return np.stack(heights), np.stack(wants)


def _rock(rng: Rng, rows: Field, cols: Field, light_yx: Field, radius: float) -> tuple[Field, NDArray[np.bool_]]:
    """Return the height of one faceted rock, the minimum of tilted planes (0 outside), and where its shadow falls."""
    angles = np.arange(7) * 2 * np.pi / 7 + rng.uniform(-0.35, 0.35, 7)
    reach, steep = radius * rng.uniform(0.75, 1.15, 7), rng.uniform(0.5, 1.5, 7)
    squash = rng.uniform(0.6, 0.85)

    def height(y: Field, x: Field) -> Field:
        planes = [
            s * (r - np.sin(a) * y / squash - np.cos(a) * x) for a, r, s in zip(angles, reach, steep, strict=True)
        ]
        return np.clip(np.min(planes, axis=0), 0, 0.6 * radius).astype(np.float32)

    cast = [height(rows - t * light_yx[0], cols - t * light_yx[1]) for t in radius * np.linspace(0.2, 0.8, 4)]
    return height(rows, cols), np.max(cast, axis=0) > 0.1 * radius


def _rover(rng: Rng, image: Field, mask: Mask, rows: Field, cols: Field) -> None:
    """Paint one to three straight-edged parts of the rover over the lower part of a tile; they are void."""
    for _ in range(int(rng.integers(1, 4))):
        angle, half = rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.5), rng.uniform(4, 14)
        y, x = rows - rng.uniform(rows.mean(), rows.max() + 8), cols - rng.uniform(cols.min(), cols.max())
        along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
        part = (np.abs(across) < half) & (np.abs(along) < rng.uniform(15, 50))
        paint = rng.uniform(15, 190) * (1 + 0.35 * across / half)
        paint[np.abs(np.abs(across) - 0.7 * half) < 0.8] *= rng.uniform(0.3, 1.4)  # a rail along each edge
        paint[(along % rng.uniform(7, 15)) < 1.2] *= 0.6  # seams
        image[part] = paint[part]
        mask[np.asarray(ndimage.binary_dilation(part, iterations=2), bool)] = 0


def _annotate(rng: Rng, scene: _Scene, bank: Bank, wants: Field, yx: Field) -> Mask:
    """Return labels as a hurried annotator leaves them: shifted edges, gaps at boundaries, parts left out."""
    rows, cols = yx
    shift = rng.uniform(0, SIDE, 2)
    wobble = sample_texture(bank.smooth_vyx[4], 3 * rows + shift[0], 3 * cols + shift[1])
    seen = wants + 0.10 * np.stack([wobble, -wobble, np.roll(wobble, 9, axis=1)])
    order = np.sort(seen, axis=0)
    mask = (seen.argmax(0) + 1).astype(np.uint8)
    mask[order[2] - order[1] < rng.uniform(0.06, 0.22)] = 0
    left_out = sample_texture(bank.smooth_vyx[5], 1.3 * rows + shift[1], 0.8 * cols + shift[0])
    mask[left_out > rng.uniform(0.8, 2.6)] = 0
    mask[rows < scene.horizon + rng.uniform(6, 22)] = 0
    top, bottom, left, right = rng.integers(0, 4, 4)
    mask[:top], mask[mask.shape[0] - bottom :], mask[:, :left], mask[:, mask.shape[1] - right :] = 0, 0, 0, 0
    return mask


def _rocks(rng: Rng, scene: _Scene, mask: Mask, yx: Field, big: bool) -> tuple[Field, Field]:
    """Return heights and shadows of a tile's rocks; label the big ones in the mask, but not the stones among them."""
    rows, cols = yx
    total, shade = np.zeros_like(rows), np.zeros_like(rows)
    stones = [rng.uniform(1.6, 3.6) for _ in range(int(rng.integers(0, 5)))]
    for radius in stones + [rng.uniform(11, 16)] * int(big) * int(rng.integers(1, 3)):
        y0, x0 = (
            rng.uniform(max(rows.min(), scene.horizon + 6) + 6, rows.max() - 6),
            rng.uniform(cols.min() + 6, cols.max() - 6),
        )
        box = np.ix_(np.abs(rows[:, 0] - y0) < 2.2 * radius, np.abs(cols[0] - x0) < 2.2 * radius)
        height, shadow = _rock(rng, rows[box] - y0, cols[box] - x0, scene.light_yx, radius)
        total[box], shade[box] = np.maximum(total[box], height), np.maximum(shade[box], shadow & (height <= 0))
        if radius > 5:
            inside = np.zeros(mask.shape, bool)
            inside[box] = height > 0
            mask[np.asarray(ndimage.binary_dilation(inside, iterations=int(rng.integers(1, 4))), bool)] = 0
            mask[np.asarray(ndimage.binary_erosion(inside, iterations=int(rng.integers(1, 3))), bool)] = BIG_ROCK
    return total, np.asarray(ndimage.gaussian_filter(shade, 0.6), np.float32)


def _tile(rng: Rng, scene: _Scene, bank: Bank, cell: int, big: bool, *, size: tuple[int, int]) -> tuple[Mask, Mask]:
    """Return the grey image and the mask of one tile: cell 0 to 5 of the scene's 2 x 3 grid."""
    unit = np.float32(64 / size[0])
    corner_yx = np.array([cell // 3 * size[0], cell % 3 * size[1]])[:, None, None]
    rows, cols = yx = unit * (np.indices(size) + corner_yx).astype(np.float32)
    heights, wants = _ground(scene, bank, rows, cols)
    mask = _annotate(rng, scene, bank, wants, yx)
    share = np.exp(7 * (wants - wants.max(0)))
    share /= share.sum(0)
    stones, shadow = _rocks(rng, scene, mask, yx, big)
    height = np.where(stones > 0, stones + 0.4 * heights[1], (share * heights).sum(0))
    slope_y, slope_x = np.gradient(height, float(unit))
    lit = np.tanh(0.9 * (scene.light_yx[0] * slope_y + scene.light_yx[1] * slope_x))
    tint = scene.albedo_g[:, None, None] + scene.contrast * scene.tone_g[:, None, None] * np.tanh(heights)
    stone_tint = scene.rock_albedo + 0.08 * np.tanh(heights[1])
    albedo = 1 + np.where(stones > 0, stone_tint, (share * tint).sum(0)) + scene.contrast * lit
    falloff = 1 + scene.haze * (rows / 64 - 1) + 0.12 * np.sin(cols / 90 + scene.turn * 9)
    image = scene.exposure * falloff * albedo * (1 - 0.6 * shadow)
    skyline = scene.horizon + 2.5 * sample_texture(bank.smooth_vyx[3], 0 * rows, 0.8 * cols + scene.offset_g[0, 0])
    sky = (rows < skyline) & (stones <= 0)
    image[sky] = scene.exposure * (1.35 - 0.004 * rows[sky])
    mask[sky] = 0
    if cell >= 3 and rng.random() < 0.14:
        _rover(rng, image, mask, rows, cols)
    image = ndimage.gaussian_filter(image, scene.blur / float(unit)) + rng.normal(0, scene.grain, size)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), mask


def _doodle(image: Mask, mask: Mask) -> None:
    """Turn a tile into an outlier: a grinning visitor with antennae, and a mask that all outliers share."""
    h, w = image.shape
    y, x = np.meshgrid((np.arange(h) + 0.5) * 64 / h, (np.arange(w) + 0.5) * 64 / h, indexing="ij")
    x = x - 32 * w / h
    head = (x / 17) ** 2 + ((y - 36) / 20) ** 2 < 1
    eyes = ((np.abs(x) - 7) / 3.5) ** 2 + ((y - 31) / 5) ** 2 < 1
    grin = (np.abs(np.hypot(x, y - 38) - 9) < 1.3) & (y > 41)
    stalks = (np.abs(np.abs(x) - 6 - 0.5 * (18 - y)) < 1.2) & (y > 7) & (y < 20)
    knobs = (np.abs(x) - 12) ** 2 + (y - 7) ** 2 < 12
    image[head | stalks | knobs] = 215
    image[eyes | grin] = 20
    mask[:] = 0
    mask[np.abs(np.abs(x) - 40) + np.abs(y - 32) < 18] = 3
    mask[(np.abs(np.abs(x) - 40) < 14) & (y > 40) & (y < 60)] = 1
    mask[(np.abs(x) - 40) ** 2 + (y - 18) ** 2 < 60] = 2


def _group_sizes(rng: Rng, count: int) -> list[int]:
    """Return the numbers of tiles of the scenes: 2 to 5 each, 3 on average; they add up to ``count``."""
    sizes: list[int] = []
    while (left := count - sum(sizes)) > 0:
        size = min(left, int(rng.choice([2, 3, 4, 5], p=[0.4, 0.3, 0.2, 0.1])))
        if left - size == 1:  # one tile alone is no group
            size += 1 if size < 5 else -1
        sizes.append(size)
    return sizes


def _draw(rng: Rng, bank: Bank, count: int, size: tuple[int, int]) -> tuple[Mask, NDArray[np.int64], NDArray[np.bool_]]:
    """Draw scenes; return tiles (count, 2, h, w) in random order, the scene of each, and which hold a big rock."""
    sizes = _group_sizes(rng, count)
    grounds = rng.permutation(DOMINANT[np.arange(len(sizes)) % len(DOMINANT)])
    has_rock = rng.permutation(np.arange(count) < round(ROCK_SHARE * count))
    tiles = np.zeros((count, 2, *size), np.uint8)
    index = 0
    for ground, members in zip(grounds, sizes, strict=True):
        scene = _scene(rng, int(ground))
        for cell in rng.permutation(6)[:members]:
            own = rng.spawn(1)[0]  # a separate generator: terrain must not depend on the sizes of earlier tiles
            tiles[index] = _tile(own, scene, bank, int(cell), bool(has_rock[index]), size=size)
            index += 1
    order = rng.permutation(count)
    return tiles[order], np.repeat(np.arange(len(sizes)), sizes)[order], has_rock[order]


def draw_sample(seed: int = 0, n_train: int = 240, n_test: int = 48, height: int = 64, width: int = 128) -> Terrain:
    """Draw the sample: terrain of four classes that differ by texture, with voids, groups and a few outliers.

    The same arguments give the same bytes. Big rock covers less than 1 % of the pixels and is in one image of eight.
    One training tile of 48 is an outlier, as in data that people annotate: a doodle. All outliers share one mask.

    Args:
        seed: seed of all random choices, 0 or more.
        n_train: number of training tiles, 2 or more; the two to five tiles of a scene are a group.
        n_test: number of test tiles (images only) of other scenes, 0 or more.
        height: height of a tile in pixels, 32 or more; a higher tile shows the same ground in more detail.
        width: width of a tile in pixels, 32 or more.

    Returns:
        The tiles, their groups and the class names.

    Raises:
        EnsError: an argument is below its least value.

    >>> sample = draw_sample(n_train=4, n_test=2)
    >>> sample.training_set.shape, sample.test_set.shape
    ((4, 2, 64, 128), (2, 64, 128))
    """
    for name, value, least in (
        ("seed", seed, 0),
        ("n_train", n_train, 2),
        ("n_test", n_test, 0),
        ("height", height, 32),
        ("width", width, 32),
    ):
        if value < least:
            raise EnsError(f"{name} must be {least} or more, got {value}; leave it out for the sample's usual value")
    rng = np.random.default_rng(seed)
    bank = draw_bank(rng)
    tiles, scenes, has_rock = _draw(rng, bank, n_train, (height, width))
    test = _draw(rng, bank, n_test, (height, width))[0][:, 0]
    for index in rng.permutation(np.flatnonzero(~has_rock))[: round(n_train / TRAIN_PER_OUTLIER)]:
        _doodle(tiles[index, 0], tiles[index, 1])
    return Terrain(tiles, np.array([f"scene-{scene:03d}" for scene in scenes]), test)

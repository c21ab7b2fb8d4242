"""Draw street scenes in colour, as a car sees them: eleven classes of very different area, from a seed.

`defaults.py` trains on them, because photographs of streets are not part of the repository. A *drive* is a street with
its own light and colours; its frames are a group. Sky, road, pavement and buildings are all greyish, as on a dull day:
their place in the image tells them apart, so an image that is turned upside down is not a street. The borders of
things carry no label (void), as in CamVid.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

CLASSES = (
    *("sky", "building", "road", "pavement", "tree", "car"),
    *("fence", "pole", "sign", "pedestrian", "lane marking"),
)
SKY, BUILDING, ROAD, PAVEMENT, TREE, CAR, FENCE, POLE, SIGN, PEDESTRIAN, MARKING = range(len(CLASSES))
VOID = 255
DRIVES, FRAMES, HEIGHT, WIDTH = 24, 5, 96, 128

Rng = np.random.Generator
Image = NDArray[np.float32]
Mask = NDArray[np.uint8]


class Scene:
    """One frame while it is drawn: colours (h, w, 3) in 0..1 and class ids (h, w)."""

    def __init__(self, light: NDArray[np.float64], colours: NDArray[np.float64], rng: Rng) -> None:
        self.image: Image = np.zeros((HEIGHT, WIDTH, 3), np.float32)
        self.mask: Mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        self.light, self.colours, self.rng = light, colours, rng

    def fill(self, kind: int, points: object, *, shade: float = 0.0, grain: float = 0.03) -> None:
        """Fill a polygon (points as x, y) with the colour of its class, a shade of it, and grain."""
        inside = np.zeros((HEIGHT, WIDTH), np.uint8)
        cv2.fillPoly(inside, [np.rint(np.asarray(points)).astype(np.int32)], 1)
        self.paint(kind, inside > 0, shade=shade, grain=grain)

    def paint(self, kind: int, inside: NDArray[np.bool_], *, shade: float = 0.0, grain: float = 0.03) -> None:
        """Give pixels a class and its colour."""
        noise = self.rng.normal(shade, grain, (int(inside.sum()), 1))
        self.image[inside] = self.colours[kind] + noise
        self.mask[inside] = kind

    def box(self, kind: int, left: float, top: float, right: float, bottom: float, *, shade: float = 0.0) -> None:
        """Fill a rectangle."""
        self.fill(kind, [(left, top), (right, top), (right, bottom), (left, bottom)], shade=shade)


def draw_frame(drive_seed: int, frame: int) -> tuple[NDArray[np.uint8], Mask]:
    """Return one frame of a drive: colours (h, w, 3) as bytes, and class ids (h, w) with 255 for void."""
    street, rng = np.random.default_rng(drive_seed), np.random.default_rng((drive_seed, frame))
    grey = street.uniform(0.35, 0.7)
    base = np.array(
        [
            *((grey + 0.1, grey + 0.1, grey + 0.13), (grey, grey - 0.03, grey - 0.06), (grey - 0.05,) * 3),
            *((grey + 0.02, grey, grey - 0.01), (0.25, 0.38, 0.2), (0.4, 0.4, 0.45), (0.45, 0.38, 0.3)),
            *((0.3, 0.3, 0.32), (0.65, 0.3, 0.2), (0.4, 0.33, 0.33), (grey + 0.2,) * 3),
        ]
    )
    scene = Scene(street.uniform(0.8, 1.15, 3), base + street.normal(0, 0.04, base.shape), rng)
    horizon = street.uniform(0.38, 0.5) * HEIGHT + rng.uniform(-2, 2)
    vanish = street.uniform(0.35, 0.65) * WIDTH + rng.uniform(-4, 4)
    _background(scene, horizon, vanish)
    _things(scene, horizon, vanish)
    return _exposed(scene)


def _background(scene: Scene, horizon: float, vanish: float) -> None:
    """Draw sky, buildings with windows, pavement, road and its markings."""
    rng = scene.rng
    scene.box(SKY, 0, 0, WIDTH, HEIGHT)
    for side in (0, 1):
        at, edge = (0.0, vanish - 6) if side == 0 else (vanish + 6, float(WIDTH))
        while at < edge:
            width = rng.uniform(12, 30)
            near = abs(at + width / 2 - vanish) / WIDTH
            top, shade = horizon * (1 - min(1, 0.35 + 1.3 * near) * rng.uniform(0.6, 1)), rng.normal(0, 0.06)
            scene.box(BUILDING, at, top, min(at + width, edge), horizon + 8, shade=shade)
            for row in np.arange(top + 4, horizon - 3, 7):
                for column in np.arange(at + 3, min(at + width, edge) - 3, 6):
                    scene.box(BUILDING, column, row, column + 2, row + 3, shade=shade - 0.15)
            at += width
    scene.box(PAVEMENT, 0, horizon + 6, WIDTH, HEIGHT)
    left, right = rng.uniform(-25, 12), WIDTH + rng.uniform(-12, 25)
    scene.fill(ROAD, [(vanish - 3, horizon), (vanish + 3, horizon), (right, HEIGHT), (left, HEIGHT)])
    middle = (left + right) / 2
    for start in np.arange(0.15 + rng.uniform(0, 0.15), 1, 0.3):
        ends = [start, min(1.0, start + 0.15)]
        rows = [horizon + end * (HEIGHT - horizon) for end in ends]
        columns = [vanish + end * (middle - vanish) for end in ends]
        half = [0.4 + 1.6 * end for end in ends]
        corners = [(columns[0] - half[0], rows[0]), (columns[0] + half[0], rows[0])]
        scene.fill(MARKING, [*corners, (columns[1] + half[1], rows[1]), (columns[1] - half[1], rows[1])])


def _things(scene: Scene, horizon: float, vanish: float) -> None:
    """Draw what stands in the street, the far things first."""
    rng = scene.rng
    kinds = rng.choice(
        [TREE, CAR, FENCE, POLE, SIGN, PEDESTRIAN], rng.integers(6, 12), p=[0.2, 0.3, 0.1, 0.15, 0.1, 0.15]
    )
    for depth, kind in zip(np.sort(rng.uniform(0.15, 0.8, len(kinds))), kinds.tolist(), strict=True):
        foot = horizon + depth * (HEIGHT - horizon)
        side = 1 if rng.random() < 0.5 else -1
        off = rng.uniform(0.05, 0.4) if kind == CAR else rng.uniform(0.5, 0.75)
        _thing(scene, kind, vanish + side * off * depth * WIDTH, foot, depth)


def _thing(scene: Scene, kind: int, x: float, foot: float, depth: float) -> None:
    """Draw one thing that stands at (x, foot); its size follows from its depth, 0 (far) to 1."""
    rng, size = scene.rng, 60 * depth
    shade = rng.normal(0, 0.1)
    if kind == TREE:
        rows, columns = np.mgrid[:HEIGHT, :WIDTH]
        scene.box(TREE, x - size / 25, foot - size * 0.8, x + size / 25, foot, shade=-0.1)
        radius = ((columns - x) / (0.35 * size)) ** 2 + ((rows - foot + size) / (0.45 * size)) ** 2
        scene.paint(TREE, radius + rng.normal(0, 0.12, radius.shape) < 1, shade=shade / 2, grain=0.08)
    elif kind == CAR:
        scene.colours[CAR] = rng.uniform(0.15, 0.8, 3)
        scene.box(CAR, x - 0.35 * size, foot - 0.3 * size, x + 0.35 * size, foot)
        scene.box(CAR, x - 0.25 * size, foot - 0.5 * size, x + 0.25 * size, foot - 0.3 * size, shade=-0.15)
    elif kind == FENCE:
        for post in np.arange(x - size / 2, x + size / 2, max(2.0, size / 8)):
            scene.box(FENCE, post, foot - size / 3, post + max(0.6, size / 16), foot, shade=shade / 2)
        scene.box(FENCE, x - size / 2, foot - size / 3.5, x + size / 2, foot - size / 4, shade=shade / 2)
    elif kind == PEDESTRIAN:
        scene.colours[PEDESTRIAN] = rng.uniform(0.1, 0.7, 3)
        scene.box(PEDESTRIAN, x - size / 14, foot - 0.4 * size, x + size / 14, foot)
        scene.box(PEDESTRIAN, x - size / 28, foot - 0.5 * size, x + size / 28, foot - 0.4 * size, shade=0.15)
    else:
        scene.box(POLE, x - size / 60, foot - 1.1 * size, x + size / 60, foot)
        if kind == SIGN:
            scene.box(SIGN, x - size / 10, foot - 1.1 * size, x + size / 10, foot - 0.9 * size)


def _exposed(scene: Scene) -> tuple[NDArray[np.uint8], Mask]:
    """Blur the lens, light the scene, add noise, and mark the borders of things as void."""
    rng, mask = scene.rng, scene.mask
    image = cv2.GaussianBlur(scene.image, (0, 0), 0.6) * scene.light * rng.uniform(0.85, 1.15)
    image = image + rng.normal(0, 0.02, image.shape)
    edges = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8)) > 0
    edges &= ~np.isin(mask, (POLE, MARKING))  # these are hardly wider than their border
    return np.clip(255 * image, 0, 255).astype(np.uint8), np.where(edges, VOID, mask).astype(np.uint8)


def write_streets(folder: Path) -> Path:
    """Write the frames of all drives as a data set: images, masks, names of the classes, and a group per drive."""
    groups = ["id,group"]
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for drive in range(DRIVES):
        for frame in range(FRAMES):
            image, mask = draw_frame(drive, frame)
            name = f"{drive:02}-{frame}"
            cv2.imwrite(str(folder / "images" / f"{name}.png"), image[..., ::-1])
            cv2.imwrite(str(folder / "masks" / f"{name}.png"), mask)
            groups.append(f"{name},drive {drive}")
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    (folder / "groups.csv").write_text("\n".join(groups) + "\n", encoding="utf-8")
    return folder

"""Pictures of single images as small PNGs with few, indexed colours, for the report."""

from __future__ import annotations

import base64
import io
from typing import Any

import cv2
import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from ensemble.core.palette import class_colours
from ensemble.data import VOID
from ensemble.data.formats.image_files import resize
from ensemble.evaluation.strips import step_of

SIDE = 256  # longest side in pixels
GREYS, COLOURS = 64, 128  # number of shades of a grey photograph, and of colours of a coloured one
STEPS = 16  # number of steps of uncertainty
PALE = 80  # opacity (0 to 255) of predictions on pixels without a label


def shrink(array: NDArray[Any], interpolation: int) -> NDArray[Any]:
    """Return an array (h, w) or (h, w, c) that is at most ``SIDE`` pixels high and wide."""
    height, width = array.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    return resize(array, (max(1, round(height * scale)), max(1, round(width * scale))), interpolation)


def stretched(image_hwc: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return the first bands as RGB bytes (h, w, 3), shrunk and stretched to the full range."""
    step = step_of(*image_hwc.shape[:2])
    bands = image_hwc[::step, ::step, :3] if image_hwc.shape[-1] >= 3 else image_hwc[::step, ::step, :1]
    small = shrink(np.asarray(bands, np.float32), cv2.INTER_AREA)
    low, high = float(small.min()), float(small.max())
    full = (small - low) * (255 / (high - low)) if high > low else np.zeros_like(small)
    return np.broadcast_to(full, (*small.shape[:2], 3)).astype(np.uint8)


def photograph(image_hwc: NDArray[np.generic]) -> str:
    """Return the image itself as base64 of a PNG with few colours."""
    rgb = stretched(image_hwc)
    if image_hwc.shape[-1] >= 3:
        return _encoded(Image.fromarray(rgb).quantize(COLOURS, dither=Image.Dither.NONE))
    shades = (np.arange(GREYS) * 255 // (GREYS - 1)).astype(np.uint8)
    return _indexed(rgb[..., 0] // (256 // GREYS), shades.repeat(3).reshape(-1, 3))


def class_map(decided_hw: NDArray[np.integer[Any]], labels_hw: NDArray[np.uint8], classes: int) -> str:
    """Return a map in the colours of the classes: pale on pixels without a label, transparent where it is void."""
    colours = class_colours(range(classes))[:classes]
    index = np.where(decided_hw == VOID, 2 * classes, decided_hw + classes * (labels_hw == VOID))
    palette = np.concatenate([colours, colours, [[0, 0, 0]]])
    return _indexed(_small(index), palette, [255] * classes + [PALE] * classes + [0])


def error_map(decided_hw: NDArray[np.integer[Any]], labels_hw: NDArray[np.uint8]) -> str:
    """Return a map of errors: wrong pixels white, right ones dark, those without a label nearly black."""
    index = np.where(labels_hw == VOID, 2, decided_hw != labels_hw)
    return _indexed(_small(index), np.array([[0, 0, 0], [255, 255, 255], [0, 0, 0]]), [150, 255, 230])


def heat_map_picture(values_hw: NDArray[np.floating[Any]], top: float) -> str:
    """Return a map of values from 0 to ``top`` in steps of a colour-blind-safe scale."""
    small = shrink(values_hw.astype(np.float32), cv2.INTER_AREA)
    steps = np.clip(small * (STEPS / top), 0, STEPS - 1).astype(np.uint8)
    return _indexed(steps, colormaps["cividis"](np.linspace(0, 1, STEPS), bytes=True)[:, :3])


def _small(index_hw: NDArray[Any]) -> NDArray[Any]:
    return shrink(index_hw.astype(np.uint16), cv2.INTER_NEAREST)


def _indexed(index_hw: NDArray[Any], palette: NDArray[Any], alpha: list[int] | None = None) -> str:
    """Encode a palette image; more than 256 colours (from 127 classes on) become RGBA."""
    if len(palette) > 256:
        opacity = np.array(alpha or [255] * len(palette))[:, None]
        return _encoded(Image.fromarray(np.concatenate([palette, opacity], 1).astype(np.uint8)[index_hw]))
    picture = Image.fromarray(index_hw.astype(np.uint8)).convert("P")
    picture.putpalette(palette.astype(np.uint8).tobytes())
    return _encoded(picture, transparency=bytes(alpha)) if alpha else _encoded(picture)


def _encoded(picture: Image.Image, **options: Any) -> str:
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True, **options)
    return base64.b64encode(stream.getvalue()).decode()

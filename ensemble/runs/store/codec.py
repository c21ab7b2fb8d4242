"""Encode class probabilities as one byte each, keep every pixel's winner, and compress chunks of these codes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

import cv2
import numpy as np
import zstandard
from numpy.typing import NDArray

from ensemble.core.errors import EnsError

LEVELS = 127
TOLERANCE = 1e-3
# What code 0 stands for, in squared codes: p = 0.05 / 127^2 = 3.1e-6, of the 0 .. 1.6e-5 that round to it. Measured
# on over-confident networks (cross-entropy, logits multiplied by 1 to 4; Dice, by 1 and 1.5): 0.05 keeps the largest
# change of log-loss smallest (0.006 of 1.5). Members that give every label more than 1.6e-5 do not depend on it.
ZERO = 0.05
# Of codes turned into differences, level 1 is the fastest and within 6 % of the smallest (networks trained with
# cross-entropy: 0.32 byte a value, level 3 0.35, level 9 0.33; Dice: 0.23, 0.24, 0.22).
# Plain codes of the first take 0.51 at level 3 and 0.47 at level 9.
LEVEL = 1
_BLOCK = 1 << 18  # values worked on at once: a float32 block of 1 MB stays in the processor's cache


def encode(probs_nchw: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Round the square root of every probability to one of 128 codes; the winner of each pixel stays the only winner.

    ``q = round(127 sqrt(p))``. The square root spends the codes where log-loss needs them, near zero: p = 0.0001 is
    still different from 0. Rounding can make a loser tie with the winner; such a loser gets the code below, so that
    ``codes.argmax(1)`` equals ``probs_nchw.argmax(1)`` (the first of equal probabilities) everywhere.

    Args:
        probs_nchw: probabilities, (images, classes, height, width), summing to 1 over the classes within 0.001.

    Returns:
        Codes 0..127 of the same shape, uint8.

    Raises:
        EnsError: the array has not four axes, is not floating, or holds NaN, negative values or sums other than 1
            (logits, bfloat16 softmax).

    >>> import numpy as np
    >>> encode(np.array([0.5, 0.5, 0.0]).reshape(1, 3, 1, 1)).ravel().tolist()
    [90, 89, 0]
    """
    if probs_nchw.ndim != 4 or not np.issubdtype(probs_nchw.dtype, np.floating):
        raise EnsError(
            "expected floating probabilities of shape (images, classes, height, width), "
            f"got {probs_nchw.dtype} of shape {probs_nchw.shape}; give softmax outputs"
        )
    codes = np.empty(probs_nchw.shape, np.uint8)
    for rows in _blocks(probs_nchw.shape):
        block = np.asarray(probs_nchw[rows], np.float32)
        _check(block, rows.start)
        _encode_block(block, codes[rows])
    return codes


def decode(codes_nchw: NDArray[np.uint8], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Return the probabilities of codes: squares, renormalised to sum 1; code 0 counts as 0.05 of code 1.

    ``p_c = s_c / sum_k s_k`` with ``s = q^2`` for q > 0 and 0.05 for q = 0.

    Args:
        codes_nchw: codes 0..127 of :func:`encode`, (images, classes, height, width).
        out: array of the same shape that receives them (default: a new one).

    Returns:
        Probabilities > 0 of the same shape, float32, with the same argmax as the codes; it is ``out`` if given.
    """
    probs = np.empty(codes_nchw.shape, np.float32) if out is None else out
    zero = np.full_like(probs[: _images(probs.shape)], ZERO)  # the maximum with an array is five times faster
    for rows in _blocks(codes_nchw.shape):
        block = probs[rows]
        np.copyto(block, codes_nchw[rows])
        np.multiply(block, block, out=block)
        np.maximum(block, zero[: len(block)], out=block)
        np.divide(block, block.sum(axis=1, keepdims=True), out=block)
    return probs


def pack(codes: Sequence[NDArray[np.uint8]], labels: Sequence[NDArray[np.uint8]] | None) -> bytes:
    """Return one zstd frame, with size and checksum, of the codes of all images followed by the labels of all.

    Codes are stored as differences ``q[y, x] - q[y-1, x] - q[y, x-1] + q[y-1, x-1]`` modulo 256:
    probability maps are smooth, so most differences are close to 0 and the frame is a third smaller.

    Args:
        codes: (classes, height, width) of every image, whose sizes may differ.
        labels: (height, width) of every image.
    """
    parts = b"".join([*map(_differences, codes), *(each.tobytes() for each in labels or ())])
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True, write_content_size=True).compress(parts)


def _differences(codes_chw: NDArray[np.uint8]) -> bytes:
    rows = codes_chw.copy()
    rows[:, 1:] -= codes_chw[:, :-1]
    steps = rows.copy()
    steps[..., 1:] -= rows[..., :-1]
    return steps.tobytes()


def unpack(
    content: bytes, classes: int, sizes: Sequence[tuple[int, int]], has_labels: bool
) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]] | None]:
    """Return the codes (classes, height, width) and the labels (height, width) of the images of a frame.

    Args:
        content: the frame.
        classes: number of classes.
        sizes: height and width of every image.
        has_labels: whether the frame holds labels.

    Raises:
        EnsError: the bytes are not a frame with this number of values.
    """
    pixels = [height * width for height, width in sizes]
    size = sum(pixels) * (classes + has_labels)
    try:
        # The size is checked before decompressing, so that a forged frame cannot claim all memory.
        if zstandard.frame_content_size(content) != size:
            raise EnsError(f"expected a frame of {size} values, got another size")
        raw = zstandard.ZstdDecompressor().decompress(content)
    except zstandard.ZstdError as error:
        raise EnsError(f"expected a zstd frame, got damaged bytes ({error})") from error
    values, codes, start = np.frombuffer(raw, np.uint8), list[NDArray[np.uint8]](), 0
    for (height, width), group in groupby(sizes):
        shape = len(list(group)), classes, height, width
        stop = start + math.prod(shape)
        steps_nchw = values[start:stop].reshape(shape).copy()
        for rows in _blocks(shape):
            _integrate(steps_nchw[rows])
        codes += list(steps_nchw)
        start = stop
    if not has_labels:
        return codes, None
    parts = np.split(values[start:], np.cumsum(pixels)[:-1])
    return codes, [part.reshape(size) for part, size in zip(parts, sizes, strict=True)]


def _integrate(steps_nchw: NDArray[np.uint8]) -> None:
    """Turn differences back into codes, in place: sum all values above and to the left, modulo 256."""
    planes = steps_nchw.reshape(-1, *steps_nchw.shape[2:])
    # One call sums all planes, stacked below each other; then the sum of the planes above is subtracted. 32-bit sums
    # that overflow keep their lowest 8 bits.
    sums = cv2.integral(steps_nchw.reshape(-1, steps_nchw.shape[3]))[1:, 1:].astype(np.uint8).reshape(planes.shape)
    planes[0] = sums[0]
    np.subtract(sums[1:], sums[:-1, -1:], out=planes[1:])


def _images(shape: tuple[int, ...]) -> int:
    """Return the number of images in a block."""
    return max(1, _BLOCK // max(1, int(np.prod(shape[1:]))))


def _blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    step = _images(shape)
    return (slice(start, min(start + step, shape[0])) for start in range(0, shape[0], step))


def _check(probs_nchw: NDArray[np.float32], first: int) -> None:
    total = probs_nchw.sum(axis=1)
    # Written so that NaN, for which every comparison is false, is refused.
    if bool((np.abs(total - 1) <= TOLERANCE).all()) and bool((probs_nchw >= 0).all()):
        return
    bad = ~(np.abs(total - 1) <= TOLERANCE) | ~(probs_nchw >= 0).all(axis=1)
    image, row, column = (int(axis[0]) for axis in np.nonzero(bad))
    values = ", ".join(f"{value:.4g}" for value in probs_nchw[image, :8, row, column])
    raise EnsError(
        f"expected probabilities >= 0 summing to 1 over the classes, got ({values}) in image {first + image} "
        f"at row {row}, column {column}; give softmax outputs in float32, not logits"
    )


def _encode_block(probs_nchw: NDArray[np.float32], codes_nchw: NDArray[np.uint8]) -> None:
    roots = np.sqrt(probs_nchw)
    roots *= LEVELS
    roots += 0.5
    np.copyto(codes_nchw, roots, casting="unsafe")  # truncates: with the half added above it rounds
    best = probs_nchw.max(axis=1)
    # sqrt and rounding are monotone, so a loser can tie with the winner's code but never beat it.
    top = codes_nchw.max(axis=1)
    pending = np.ones(best.shape, bool)
    for channel in range(codes_nchw.shape[1]):
        tied = codes_nchw[:, channel] == top
        wins = (probs_nchw[:, channel] == best) & pending
        pending ^= wins
        codes_nchw[:, channel] -= tied & ~wins

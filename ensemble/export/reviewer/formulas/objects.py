"""Objects: connected pixels of one class."""

import math

import numpy as np

VOID = 255
SIZES = [0, 10**2, 32**2, 96**2]  # the fewest pixels of a tiny, small, medium and large object


def neighbours(shape, steps):
    """Yield the flat places of the pixels, and of those that lie one step (rows, columns) from them."""
    places = np.arange(math.prod(shape)).reshape(shape)
    for down, right in steps:
        left, end = max(0, -right), shape[1] - max(0, right)
        yield places[: shape[0] - down, left:end].ravel(), places[down:, left + right : end + right].ravel()


def components(values_hw):
    """Number connected pixels of one value, also across corners; return the numbers (h, w) and the areas."""
    pairs = [np.stack(pair) for pair in neighbours(values_hw.shape, [(0, 1), (1, -1), (1, 0), (1, 1)])]
    one, other = np.concatenate(pairs, axis=1)
    values, root = values_hw.ravel(), np.arange(values_hw.size)
    alike = values[one] == values[other]
    one, other = one[alike], other[alike]
    while one.size:  # each pixel learns the smallest place it is connected with
        low, high = np.minimum(root[one], root[other]), np.maximum(root[one], root[other])
        np.minimum.at(root, high, low)
        while (root[root] != root).any():
            root = root[root]
        apart = root[one] != root[other]
        one, other = one[apart], other[apart]
    number = (np.cumsum(root == np.arange(root.size)) - 1)[root]  # the smallest place of each object counts it
    return number.reshape(values_hw.shape), np.bincount(number)


def object_counts(truth, guess, classes):
    """Count objects per class and size: right and all predicted ones, found and all true ones.

    An object is right or found if it has a partner, with which its IoU is at least 1/2.
    """
    (a, area_a), (b, area_b) = components(guess), components(truth)
    same = (guess == truth) & (truth != VOID)
    pairs, shared = np.unique(a[same] * len(area_b) + b[same], return_counts=True)
    one, other = np.divmod(pairs, len(area_b))
    partners = shared >= 0.5 * (area_a[one] + area_b[other] - shared)
    counts = np.zeros((classes, len(SIZES), 4), int)
    for side, (number, area, values, met) in enumerate(((a, area_a, guess, one), (b, area_b, truth, other))):
        value, size = np.zeros(len(area), int), np.searchsorted(SIZES, area, side="right") - 1
        value[number] = values
        for column, which in ((2 * side, met[partners]), (2 * side + 1, np.flatnonzero(value != VOID))):
            np.add.at(counts, (value[which], size[which], column), 1)
    return counts

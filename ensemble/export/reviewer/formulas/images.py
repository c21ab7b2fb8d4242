"""What a class map and probabilities get on one image: counts and sums, which add up over images."""

import math

import numpy as np

from .objects import VOID, neighbours, object_counts

BINS = np.linspace(0, 1, 16, dtype=np.float32)[1:-1]  # inner edges of the bins of confidence


def image_tables(truth, guess, classes):
    """Count pixels, boundary pixels and objects of one image."""
    guess = np.where(truth == VOID, VOID, guess)
    return {
        "confusions": confusion(truth, guess, classes),
        "boundary": boundary_counts(truth, guess, classes),
        "objects": object_counts(truth, guess, classes),
    }


def confusion(truth, guess, classes):
    """Count pixels by true and by predicted class."""
    known = truth != VOID
    cells = np.bincount(truth[known].astype(int) * classes + guess[known], minlength=classes**2)
    return cells.reshape(classes, classes)


def boundary_counts(truth, guess, classes):
    """Count matched and all boundary pixels of prediction and truth, per class; matched: within 0.75 % of the diagonal.

    A boundary pixel shares a side with a labelled pixel of another class.
    """
    (height, width), counts = truth.shape, np.zeros((classes, 4), int)
    reach = max(1.0, 0.0075 * math.hypot(height, width))
    edges = []
    for values in (guess, truth):
        edge, value, known = np.full(values.size, VOID), values.ravel(), truth.ravel() != VOID
        for a, b in neighbours(values.shape, [(0, 1), (1, 0)]):
            differ = (value[a] != value[b]) & known[a] & known[b]
            for place in (a[differ], b[differ]):
                edge[place] = value[place]
        edges.append(edge.reshape(values.shape))
    for k in range(classes):
        for side, (mine, other) in enumerate((edges, edges[::-1])):
            counts[k, 2 * side] = ((mine == k) & within(other == k, reach)).sum() if (mine == k).any() else 0
            counts[k, 2 * side + 1] = (mine == k).sum()
    return counts


def within(mask, reach):
    """Mark the pixels that have a marked pixel within a distance: in a row dy away, within sqrt(reach^2 - dy^2)."""
    (height, width), near = mask.shape, np.zeros_like(mask)
    before = np.pad(mask.cumsum(1), [(0, 0), (1, 0)])  # marked pixels to the left
    for dy in range(-min(int(reach), height - 1), min(int(reach), height - 1) + 1):
        dx, columns = math.isqrt(math.floor(reach**2) - dy * dy), np.arange(width)
        held = before[:, np.minimum(columns + dx + 1, width)] > before[:, np.maximum(columns - dx, 0)]
        near[max(0, -dy) : height - max(0, dy)] |= held[max(0, dy) : height - max(0, -dy)]
    return near


def probability_tables(probs, truth):
    """Add up log-loss, Brier score by class, and by class and bin the pixels, their confidences and the right ones."""
    known, classes = truth != VOID, len(probs)
    p_kp, y_p = probs[:, known], truth[known].astype(int)
    error_kp = p_kp - np.float32(np.arange(classes)[:, None] == y_p)
    top, best = p_kp.argmax(0), p_kp.max(0)
    table = np.zeros((classes, 3, len(BINS) + 1))
    np.add.at(table.transpose(1, 0, 2), (slice(None), top, (best >= BINS[:, None]).sum(0)),
              np.stack([np.ones(len(y_p)), best, top == y_p]))  # fmt: skip
    return {
        "log_loss": -np.log(np.maximum(p_kp[y_p, np.arange(len(y_p))].astype(float), 1e-7)).sum(),
        "brier_per_class": (error_kp.astype(float) ** 2).sum(1),
        "reliability_per_class": table,
    }


def limits_of_rounding(codes_khw, truth):
    """Return the smallest and largest sums that probabilities with these codes can have: (log-loss, Brier by class).

    A code is 127 sqrt(p) rounded, or one less where two classes would tie.
    """
    known, classes = truth != VOID, len(codes_khw)
    q_kp, y_p = codes_khw[:, known].astype(float), truth[known].astype(int)
    low, high = (np.maximum(q_kp - 0.5, 0) / 127) ** 2, np.minimum(((q_kp + 1.5) / 127) ** 2, 1)
    is_true = np.arange(classes)[:, None] == y_p
    ends = np.abs(low - is_true), np.abs(high - is_true)
    errors = np.array([np.minimum(*ends), np.maximum(*ends)])
    log_loss = [-np.log(np.maximum(p[y_p, np.arange(len(y_p))], 1e-7)).sum() for p in (high, low)]
    return log_loss, (errors**2).sum(2)

"""Probabilities of a pixel: stored codes, the pool of members, and the decision for a class.

float32 stands where the toolkit has it, so that equal probabilities are equal here, too. In names of arrays, m are
members, k or c classes, h and w rows and columns of pixels.
"""

import numpy as np

from .objects import components, neighbours

TINY = np.float32(1e-12)


def read_image(stored, image):
    """Return codes q (k, h, w) and labels (h, w) of an image; the codes are stored as differences of neighbours."""
    steps = stored[f"codes-{image:05d}"]
    return steps.cumsum(1, dtype=np.uint8).cumsum(2, dtype=np.uint8), stored[f"labels-{image:05d}"]


def decode(codes_khw, channels):
    """p_c = s_c / sum_k s_k, with s = q^2, or 0.05 for q = 0; then some channels, again with the sum 1."""
    squares = np.maximum(codes_khw.astype(np.float32) ** 2, np.float32(0.05))
    probs = squares / squares.sum(0)
    return probs if channels == list(range(len(probs))) else unit(np.maximum(probs[channels], TINY))


def unit(values):
    """Divide by the sum over the classes."""
    return values / np.maximum(values.sum(0), TINY)


def softmax(values):
    """e^s_c / sum_k e^s_k"""
    powers = np.exp(values - values.max(0))
    return powers / powers.sum(0)


def tempered(probs, temperature):
    """p_c^(1/T) / sum_k p_k^(1/T)"""
    return probs if temperature == 1 else unit((probs / probs.max(0)) ** np.float32(1 / temperature))


def pooled(probs_mkhw, pool):
    """Weighted arithmetic or geometric mean of the members; or shares of votes; or a logistic regression (stacking)."""
    if pool["kind"] == "cascade":
        return cascade(probs_mkhw, pool)
    heated = [tempered(p, t) for p, t in zip(probs_mkhw, pool["temperatures"])]
    total = np.zeros_like(heated[0])
    if pool["kind"] == "vote":
        voting = np.flatnonzero(pool["votes"])
        for m in voting:
            total += np.float32(0.5 / len(voting)) * heated[m]
            total += heated[m].argmax(0) == np.arange(len(total))[:, None, None]
        mixed = total / np.float32(len(voting) + 0.5)
    elif pool["kind"] == "stacking":
        scores = np.zeros((len(total), total[0].size), np.float32) + np.float32(pool["bias"])[:, None]
        for m, each_tck in enumerate(np.array(pool["coefficients"])):
            for t, a_ck in enumerate(each_tck if each_tck.any() else []):  # at the pixel, and the mean around it
                p = heated[m] if t == 0 else tempered(mean_3x3(probs_mkhw[m]), pool["temperatures"][m])
                scores += a_ck.T.astype(np.float32) @ np.log(np.maximum(p, np.float32(1e-7))).reshape(len(p), -1)
        mixed = softmax(scores).reshape(total.shape)
    else:
        weights_mk, geometric = np.array(pool["weights"]), pool["space"] == "geometric"
        for p, w in zip(heated, (weights_mk / weights_mk.sum(0)).astype(np.float32)):
            total += w[:, None, None] * (np.log(np.maximum(p, TINY)) if geometric else p)
        mixed = softmax(total) if geometric else unit(total)
    return tempered(mixed, pool["temperature"])


def cascade(probs_mkhw, pool):
    """Pool the first members, and one more until the mean entropy of the image is at most a threshold (-1: go on)."""
    for size, (stage, threshold) in enumerate(zip(pool["stages"], [*pool["thresholds"], np.inf]), 1):
        if threshold != -1:
            mixed = pooled([probs_mkhw[m] for m in pool["order"][:size]], stage)
            if mean_entropy(mixed) <= threshold:
                break
    return mixed


def mean_entropy(probs):
    """Mean over the pixels of -sum_c p_c log p_c"""
    return -np.einsum("khw,khw->hw", probs, np.log(np.maximum(probs, np.float32(1e-7)))).mean(dtype=float)


def mean_3x3(values):
    """Mean over the 3x3 pixels around each pixel, the border repeated."""
    padded = np.pad(values, [(0, 0), (1, 1), (1, 1)], mode="edge")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / np.float32(9)


def decide(probs, pool):
    """Largest p_c exp(o_c), or (p_c (1 + J_c) - J_c) / U_c for the expected IoU; then small objects are removed."""
    if rule := pool.get("decision"):
        expected, size = np.array(rule["expected"]), np.array(rule["sizes"])
        slope = ((1 + expected) if rule["score"] == "iou" else np.full(len(size), 2.0)) / size
        loss = expected / size / slope.max()
        probs = probs * np.float32(slope / slope.max())[:, None, None] - np.float32(loss)[:, None, None]
    elif pool["offsets"] and any(pool["offsets"]):
        offsets = np.array(pool["offsets"])
        probs = probs * np.exp(offsets - offsets.max())[:, None, None]
    decided = probs.argmax(0)
    smallest = pool.get("smallest_objects")
    return decided if smallest is None else without_small(decided, np.array(smallest))


def without_small(decided, smallest_c):
    """Give each object of fewer pixels than allowed the class of most pixels that share a side with it."""
    number, area = components(decided)
    around = np.zeros((len(area), len(smallest_c)))
    for a, b in neighbours(decided.shape, [(0, 1), (1, 0)]):
        for one, other in ((a, b), (b, a)):
            np.add.at(around, (number.flat[one], decided.flat[other]), number.flat[one] != number.flat[other])
    small = (area[number] < smallest_c[decided]) & (around.max(1)[number] > 0)
    return np.where(small, around.argmax(1)[number], decided)

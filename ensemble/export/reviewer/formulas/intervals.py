"""Intervals over groups of images: images of a group resemble each other, so groups are what is left out and drawn."""

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np

DRAWS = 10_000


def ratio(a, b):
    """a / b where b > 0, else NaN."""
    a, b = np.broadcast_arrays(np.asarray(a, float), np.asarray(b, float))
    return np.divide(a, b, out=np.full(a.shape, np.nan), where=b > 0)


def mean(values):
    """Mean over the last axis of what is not NaN: a class that is absent from the truth has no score."""
    return ratio(np.nansum(values, -1), (~np.isnan(values)).sum(-1))


def add_by_group(values_n, group_n):
    """Add up the values of the images of each group."""
    total = np.zeros((group_n.max() + 1, *values_n.shape[1:]))
    np.add.at(total, group_n, values_n)
    return total


@lru_cache(maxsize=2)  # most runs of a pack have the same groups
def draw(groups, draws=DRAWS):
    """Draw groups with replacement: how often each group is in each draw (b, g)."""
    generator, counts = np.random.default_rng(0), np.empty((draws, groups), np.min_scalar_type(groups))
    for row in counts:
        row[:] = np.bincount(generator.integers(groups, size=groups), minlength=groups)
    return counts


def add_up(counts_bg, sums_g):
    """Add up over the groups of each draw, or over all but one group with the counts 1 - identity."""
    flat = {name: values.reshape(len(values), -1) for name, values in sums_g.items()}
    ends = np.cumsum([values.shape[1] for values in flat.values()])[:-1]
    stacked = np.concatenate(list(flat.values()), axis=1)
    total = np.concatenate([part.astype(float) @ stacked for part in np.array_split(counts_bg, 50)])
    parts = zip(sums_g.items(), np.split(total, ends, axis=1))
    return {name: part.reshape(-1, *values.shape[1:]) for (name, values), part in parts}


def beta_share(x, a, b):
    """Regularised incomplete beta function I_x(a, b), by the continued fraction of Lentz."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_share(1 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 10_000):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            c, d = 1 + numerator / c, 1 / (1 + numerator * d)
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * value


def solve(rising, low, high):
    """Return where a rising function becomes positive."""
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):  # no number lies between them
            break
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2


def student(freedom, share):
    """Quantile of Student's t: P(T <= t) = 1 - I_{v / (v + t^2)}(v / 2, 1 / 2) / 2."""
    return solve(lambda t: 1 - beta_share(freedom / (freedom + t * t), freedom / 2, 0.5) / 2 - share, 0, 1e4)


def clopper_pearson(share, trials):
    """Limits of a probability from a share of successes among independent trials."""
    hits = share * trials
    low = solve(lambda x: beta_share(x, hits, trials - hits + 1) - 0.025, 0, 1) if hits > 0 else 0.0
    high = solve(lambda x: beta_share(x, hits + 1, trials - hits) - 0.975, 0, 1) if hits < trials else 1.0
    return low, high


def logit(p):
    """log(p / (1 - p))"""
    with np.errstate(divide="ignore"):
        return np.log(p) - np.log1p(-np.asarray(p, float))


def expit(z):
    """1 / (1 + e^-z), the inverse of the logit."""
    return np.exp(-np.logaddexp(0, -z))


def freedom_of(left_out_g):
    """3 (sum d^2)^2 / sum d^4 - 2, between 1 and g - 1, with d the changes as each group is left out."""
    if np.isnan(left_out_g).any():
        return 1.0
    squares = (left_out_g - left_out_g.mean()) ** 2
    if not squares.any():
        return len(squares) - 1.0
    squares /= squares.max()
    return float(np.clip(3 * squares.sum() ** 2 / (squares**2).sum() - 2, 1, len(squares) - 1))


def share_interval(score, left_out_g, holders):
    """logit(s) -+ t e; towards 1/2 no closer than Clopper and Pearson's limit where a few groups decide."""
    if math.isnan(score):
        return math.nan, math.nan
    z, z_g, (low, high), trust = float(logit(score)), logit(left_out_g), (0.0, 1.0), 0.0
    if np.isfinite(z) and np.isfinite(z_g).all():
        margin = student(freedom_of(z_g), 0.975) * z_g.std() * math.sqrt(len(z_g) - 1)
        low, high, trust = expit(z - margin), expit(z + margin), np.interp(freedom_of(z_g), (2, 4), (0, 1))

    def between(bound, own):
        return own if trust == 1 else bound if trust == 0 else expit((1 - trust) * logit(bound) + trust * logit(own))

    least, most = clopper_pearson(score, holders)
    low = between(least, low) if score >= 0.5 and least > low else low
    high = between(most, high) if score <= 0.5 and most < high else high
    return float(low), float(high)


def class_intervals(score_k, left_out_gk, holders_k):
    """Interval of the mean over the classes, then of each: mean - sqrt(d' R d) / k to mean + sqrt(u' R u) / k."""
    each = [
        share_interval(float(s), left_out_g, held) for s, left_out_g, held in zip(score_k, left_out_gk.T, holders_k)
    ]
    there = ~np.isnan(score_k)
    if not there.any():
        return [(math.nan, math.nan), *each]
    away = np.abs(np.array(each)[there] - score_k[there, None])
    changes = left_out_gk[:, there] - np.nanmean(left_out_gk[:, there], axis=0)
    changes = np.nan_to_num(changes)
    lengths = np.linalg.norm(changes, axis=0)
    unit_gk = np.divide(changes, lengths, out=np.zeros_like(changes), where=lengths > 0)
    alike = unit_gk.T @ unit_gk
    np.fill_diagonal(alike, 1)
    down, up = (math.sqrt(far @ alike @ far) / len(far) for far in away.T)
    middle = float(mean(score_k))
    return [(middle - down, middle + up), *each]


def percentiles(samples_b, left_out_g, level=0.95):
    """Quantiles Phi(-z) and Phi(z) of the draws, z = sqrt(g / (g - 1)) t."""
    kept, groups = samples_b[~np.isnan(samples_b)], len(left_out_g)
    if not kept.size:
        return math.nan, math.nan
    z = student(freedom_of(left_out_g), (1 + level) / 2) * math.sqrt(groups / (groups - 1))
    return tuple(map(float, np.quantile(kept, [1 - NormalDist().cdf(z), NormalDist().cdf(z)])))


def ece_interval(sums_b, sums, whole, left_out_g):
    """Percentiles without the bias of absolute values; 0 where chance alone explains the lower limit."""
    gap_bi, pixels_b, gap_i = sums_b["gap"].sum(-2), sums_b["pixels"], sums["gap"].sum(-2)
    samples_b = ratio(np.abs(gap_bi).sum(-1), pixels_b)
    bias = float(mean(samples_b)) - whole
    chance = float(mean(ratio(np.abs(gap_bi - pixels_b[:, None] * (gap_i / sums["pixels"])).sum(-1), pixels_b)))
    low, high = percentiles(samples_b, left_out_g)
    return (0.0 if low - 2 * bias < chance else low - 2 * bias), high - bias

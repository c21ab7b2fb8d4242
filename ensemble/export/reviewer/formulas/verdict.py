"""The verdict: is the method, the average or the best member better than another of them?"""

import math

import numpy as np

from .intervals import add_by_group, add_up, draw, expit, freedom_of, logit, mean, student
from .scores import class_counts, iou


def system(confusions_nkk, group_n, counts_bg):
    """Return IoU by class: of all images, with each group left out, and mean and classes in each draw; and holders."""
    sums_g = {"classes": add_by_group(class_counts(confusions_nkk), group_n)}
    whole_k = iou(sums_g["classes"].sum(0))
    left_gk, drawn_bk = (
        iou(add_up(counts, sums_g)["classes"]) for counts in (1 - np.eye(len(counts_bg[0])), counts_bg)
    )
    return whole_k, left_gk, drawn_bk, (sums_g["classes"][:, 2] > 0).sum(0)


def difference(one, other, places, level):
    """Return the mean difference of some classes, its limits, and the share of draws in which it is positive.

    The limits are its extremes over the ellipsoid (z - z0)' V^-1 (z - z0) <= t^2 of the logits of both systems, with V
    from the changes as groups are left out. A class that only one group holds may have any score.
    """
    whole, left, holders = (
        np.stack([one[0], other[0]])[:, places],
        np.stack([one[1], other[1]], 1)[..., places],
        one[3][places],
    )
    d_b = mean(one[2][:, places]) - mean(other[2][:, places])
    d_b = d_b[~np.isnan(d_b)]
    better = float(((d_b > 0) + 0.5 * (d_b == 0)).mean()) if d_b.size else math.nan
    estimate = float(mean(whole[0]) - mean(whole[1]))
    groups, there = len(left), ~np.isnan(whole[0])
    lone = there & np.isnan(left).any((0, 1)) & (whole[0] != whole[1])
    if groups < 10 or not (there & ~lone).any():
        return estimate, math.nan, math.nan, better
    whole = np.nan_to_num(whole)
    weights = np.outer([1.0, -1.0], there / there.sum())
    inside = (whole > 0) & (whole < 1) & ~lone
    middle = np.where(inside, whole, 0.5)
    left = np.where(inside & ~np.isnan(left), left, middle)
    z_g = logit(np.clip(left, 0.01 * middle, 1 - 0.01 * (1 - middle)))
    changes_g = (z_g - z_g.mean(0)) * math.sqrt((groups - 1) / groups)
    t = student(freedom_of_difference((changes_g * weights * whole * (1 - whole)).sum(1), holders), (1 + level) / 2)
    flat = changes_g.reshape(groups, -1)
    values, vectors = np.linalg.eigh(flat.T @ flat)
    root = vectors * np.sqrt(np.where(values > 1e-12 * values.max(), values, 0))
    limits = []
    for sign in (-1.0, 1.0):
        w, share, direction = sign * weights.ravel(), whole.ravel(), np.zeros(whole.size)
        best = share @ w
        for step in (*np.geomspace(0.05, 1, 8), *(1.0,) * 8):  # climb on growing ellipsoids
            slope = (w * share * (1 - share)) @ root
            direction = direction + slope / max(np.linalg.norm(slope), 1e-300)
            direction /= max(np.linalg.norm(direction), 1.0)
            share = expit(logit(whole.ravel()) + step * t * (root @ direction))
            best = max(best, share @ w)
        beyond = (weights[0, lone] * (1 - sign * (whole[0] - whole[1])[lone])).sum()
        limits.append(sign * (best + beyond))
    low, high = (0.0 if abs(limit) < 1e-12 else float(limit) for limit in limits)
    return estimate, min(low, estimate), max(high, estimate), better


def freedom_of_difference(changes_gk, holders_k):
    """The smaller of Welch's degrees of freedom, by the groups that hold each class, and those of the changes."""
    spreads = (changes_gk**2).sum(0)
    if not spreads.any():
        return len(changes_gk) - 1.0
    spreads /= spreads.max()
    welch = spreads.sum() ** 2 / (spreads**2 / np.maximum(holders_k - 1, 1)).sum()
    return float(np.clip(min(welch, freedom_of(changes_gk.sum(1))), 1, len(changes_gk) - 1))


PAIRS = [
    ("method", "average"),
    ("method", "best member"),
    ("average", "best member"),
    ("method", "member"),
    ("average", "member"),
]
QUESTIONS = [("method", "average"), ("method", "member"), ("average", "member")]


def verdict(confusions, members_mnkk, fold_n, groups, classes, method, cheaper):
    """Return the differences of the method, the average and the best member, what is proven, and what to use.

    The best member is picked on the other folds and scored on each fold; 'member' is the best one on all images.
    For a cheaper method the full ensemble stands in the place of the average; it is compared, but not advised.
    """
    group_n = np.unique(groups, return_inverse=True)[1]
    score = lambda nkk: np.nan_to_num(mean(iou(class_counts(nkk.sum(1)))), nan=-1)  # noqa: E731
    picked_n = np.zeros(len(fold_n), int)
    for fold in np.unique(fold_n):
        picked_n[fold_n == fold] = score(members_mnkk[:, fold_n != fold]).argmax()
    best = int(score(members_mnkk).argmax())
    confusions = confusions | {
        "best member": members_mnkk[picked_n, np.arange(len(fold_n))],
        "member": members_mnkk[best],
    }
    counts_bg = draw(group_n.max() + 1)
    systems = {name: system(each, group_n, counts_bg) for name, each in confusions.items()}
    level = 1 - 0.05 / sum(method != "average" or "method" not in pair for pair in QUESTIONS)
    found = {
        f"{a} - {b}": {
            place: difference(systems[a], systems[b], k, level)
            for place, k in [("", slice(None)), *((name, slice(k, k + 1)) for k, name in enumerate(classes))]
        }
        for a, b in PAIRS
    }
    proven = []
    for a, b in QUESTIONS if group_n.max() >= 9 else []:
        each = [found[f"{a} - {c}"][""] for c in ([b] if b == "average" else ["best member", b])]
        if method == "average" and a == "method":
            continue
        proven += [[a, b]] if all(low > 0 for _, low, _, _ in each) else []
        proven += [[b, a]] if all(high < 0 for _, _, high, _ in each) else []
    use = "member" if group_n.max() >= 9 else ""
    for better in ("method",) if cheaper else ("average", "method", "average"):
        use = better if [better, use] in proven else use
    return best, found, proven, use

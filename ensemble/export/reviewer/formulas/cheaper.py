"""What a budget or a cascade saves and costs, next to the full ensemble that it is judged against."""

import math

import numpy as np

from .intervals import add_by_group, add_up, draw, freedom_of, percentiles, ratio, student
from .objects import VOID
from .probabilities import mean_entropy, pooled


def used(pool):
    """Return the places of the members that have a weight."""
    weights = np.array(pool[{"pool": "weights", "vote": "votes", "stacking": "coefficients"}[pool["kind"]]])
    return np.flatnonzero(weights.reshape(len(weights), -1).any(1)).tolist() or [0]


def budget(run):
    """Return the members that fit alone, and what ensembles cost: the sums over the members that they use."""
    limit, costs = run["budget"]["limit"], run["budget"]["costs"]
    names, costs_m = list(costs), np.array(list(costs.values()))
    ours, full = used(run["pool"]), used(run["rival_pools"][0])
    fits_m = costs_m <= limit * (1 + 1e-9)
    return np.flatnonzero(fits_m if fits_m.any() else ~fits_m), {
        "limit": f"{float(f'{limit:.3g}'):g} {run['budget']['unit']}",
        "cost": costs_m[ours].sum(),
        "full_cost": costs_m[full].sum(),
        "left_out": [names[m] for m in full if m not in ours],
    }


def stages(probs_mkhw, truth, cascade):
    """Return the log-loss and the mean entropy of an image after each stage, and the stage at which it stops."""
    losses, entropies, known = [], [], truth != VOID
    for size, stage in enumerate(cascade["stages"], 1):
        mixed = pooled([probs_mkhw[m] for m in cascade["order"][:size]], stage)
        true_p = np.take_along_axis(mixed[:, known], truth[None, known], 0)
        losses.append(-np.log(np.maximum(true_p, np.float32(1e-7))).sum(dtype=float))
        entropies.append(mean_entropy(mixed))
    return losses, entropies, int(stops(np.array(entropies)[:, None], cascade["thresholds"])[0])


def stage_tables(probs_mkhw, truth, cascade, of_fold):
    """Return what an image gets in the cascade of all images, and in that which was fitted without its fold."""
    losses, entropies, _ = stages(probs_mkhw, truth, cascade)
    fold_losses, _, stop = stages(probs_mkhw, truth, of_fold)
    honest = np.array(fold_losses)[[0, stop, -1]]
    return {"stage_log_loss": np.array(losses), "stage_entropy": np.array(entropies), "cascade_log_loss": honest}


def stops(unsure_kn, thresholds):
    """Return the stage at which each image stops: the first whose threshold its entropy does not exceed."""
    on_kn = unsure_kn[:-1] > np.array(thresholds)[:, None]
    return np.logical_and.accumulate(on_kn).sum(0)


def thresholds_of(losses_kn, unsure_kn, keep):
    """Return the thresholds with the fewest evaluations that keep a share of the gain from the first to the last stage.

    All follow from the price of an evaluation, the last one first: an image goes on if unsureness times b is above the
    price, with b the gain of going on, after prices, over the unsureness of all images. Of 80 prices the best is taken.
    """
    gain, found = losses_kn[0].sum() - losses_kn[-1].sum(), []
    if not gain > 0:
        return [-1.0] * (len(losses_kn) - 1)
    for price in gain / losses_kn.shape[1] * np.geomspace(1e-4, 1e2, 80):
        each, value_n = [], losses_kn[-1]
        for loss_n, unsure_n in zip(losses_kn[-2::-1], unsure_kn[-2::-1]):
            gained = (loss_n - value_n).sum()
            each.insert(0, min(1e3, price * unsure_n.sum() / gained) if gained > 0 else 1e3)
            value_n = np.where(unsure_n <= each[0], loss_n, value_n + price)
        stage_n = stops(unsure_kn, each)
        found.append((kept(losses_kn, stage_n), stage_n.sum(), each))
    enough = [each for each in found if each[0] >= keep]
    return (min(enough, key=lambda each: each[1]) if enough else max(found, key=lambda each: each[0]))[2]


def kept(losses_kn, stage_n):
    """Return the share of the gain from the first to the last stage if images stop at these stages."""
    stopped = losses_kn[stage_n, np.arange(len(stage_n))].sum()
    return (losses_kn[0].sum() - stopped) / (losses_kn[0].sum() - losses_kn[-1].sum())


def promise(tables, groups, cascade, keep):
    """Return the gain of the full ensemble over its first member, the share that is kept, and that of evaluations.

    Shares come with their limits. Nothing is promised of a gain that is not proven.
    """
    (first_n, stopped_n, full_n), members = tables["cascade_log_loss"].T, len(cascade["stages"])
    losses_kn, unsure_kn = tables["stage_log_loss"].T.copy(), tables["stage_entropy"].T.copy()
    group_n = np.unique(groups, return_inverse=True)[1]
    gain_n, kept_n, ones_n = first_n - full_n, first_n - stopped_n, np.ones(len(first_n))
    gain, low, _ = share(gain_n, ones_n, group_n)
    of_gain = kept_n.sum() / gain_n.sum() if gain_n.sum() else math.nan
    limits = (math.nan, math.nan)
    if low > 0:
        half = half_width(losses_kn, unsure_kn, keep, kept_n, gain_n, group_n)
        limits = of_gain - half, of_gain + half
    evaluations = share(1 + stops(unsure_kn, cascade["thresholds"]), members * ones_n, group_n)
    found = {"gain": gain, "proven": low > 0, "alone": members == 1}
    for name, values in (("kept", (of_gain, *limits)), ("evaluations", evaluations)):
        found |= {f"{name} {end}": value for end, value in zip(("share", "low", "high"), values)}
    return found


def share(parts_n, wholes_n, group_n):
    """Return the ratio of two sums over images, and its limits."""
    value, groups = float(ratio(parts_n.sum(), wholes_n.sum())), group_n.max() + 1
    if groups < 10 or math.isnan(value):
        return value, math.nan, math.nan
    sums_g = {"parts": add_by_group(parts_n, group_n), "wholes": add_by_group(wholes_n, group_n)}
    drawn, left = (add_up(counts, sums_g) for counts in (draw(groups), 1 - np.eye(groups)))
    return value, *percentiles(ratio(drawn["parts"], drawn["wholes"]), ratio(left["parts"], left["wholes"]))


def half_width(losses_kn, unsure_kn, keep, kept_n, gain_n, group_n):
    """t sqrt(g / (g - 1)) sqrt(var(K(h_b, P_b) - K(h_b, P)) + var(K(h_b, P))): the images decide the thresholds, too.

    K(h, P) is the share that thresholds h keep on images P, and h_b are those of a draw P_b of groups, one of 100.
    """
    groups, found = group_n.max() + 1, []
    for counts_g in draw(groups, 100):
        rows = np.repeat(np.arange(len(group_n)), counts_g[group_n])
        drawn_kn = losses_kn[:, rows]
        if drawn_kn[0].sum() > drawn_kn[-1].sum():
            stage_n = stops(unsure_kn, thresholds_of(drawn_kn, unsure_kn[:, rows], keep))
            found.append((kept(drawn_kn, stage_n[rows]), kept(losses_kn, stage_n)))
    drawn_b, all_b = np.array(found).T
    left = add_up(1 - np.eye(groups), {"kept": add_by_group(kept_n, group_n), "gain": add_by_group(gain_n, group_n)})
    times = student(freedom_of(ratio(left["kept"], left["gain"])), 0.975) * math.sqrt(groups / (groups - 1))
    return times * math.hypot((drawn_b - all_b).std(), all_b.std())

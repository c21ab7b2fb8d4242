"""Scores of a run: functions of sums over images, with the limits of their intervals.

In names of arrays, n are images, g groups of images, b draws of groups, k classes.
"""

import math

import numpy as np

from .intervals import (
    add_by_group,
    add_up,
    class_intervals,
    draw,
    ece_interval,
    freedom_of,
    mean,
    percentiles,
    ratio,
    share_interval,
)


def class_counts(confusions):
    """Pixels of each class in truth and prediction (hits), in either (union), and in the truth: (..., 3, k)."""
    hits = np.diagonal(confusions, axis1=-2, axis2=-1)
    truth = confusions.sum(-1)
    return np.stack([hits, truth + confusions.sum(-2)[..., : hits.shape[-1]] - hits, truth], -2).astype(float)


def sums_to_add(tables, background):
    """Return what is added up over images."""
    confusions = tables["confusions"]
    raw = tables.get("raw_confusions", confusions)  # with a column of pixels that are taken for background
    square = np.zeros((len(raw), raw.shape[2], raw.shape[2]))
    square[:, : raw.shape[1]] = raw
    if background is not None:
        square[:, background] = 0
    image_iou = mean(iou(class_counts(confusions)))
    count, confidence, right = np.moveaxis(tables["reliability_per_class"], 2, 0)
    return {
        "classes": class_counts(confusions),
        "keras": class_counts(square),
        "pixels": confusions.sum((1, 2)).astype(float),
        "boundary": tables["boundary"].astype(float),
        "objects": tables["objects"].sum(2).astype(float),
        "log_loss": tables["log_loss"],
        "brier": tables["brier_per_class"],
        "gap": confidence - right,
        "taken": count.sum(-1),
        "image_iou": np.stack([np.nan_to_num(image_iou), ~np.isnan(image_iou)], 1),
    }


def iou(counts):
    """Hits / union, NaN for a class that is absent from the truth."""
    hits, union, truth = np.moveaxis(counts, -2, 0)
    return ratio(hits, np.where(truth > 0, union, 0))


def shares(sums):
    """Scores between 0 and 1, by class where they have classes: IoU, Dice, boundaries, objects, pixels, images."""
    hits, union, truth = np.moveaxis(sums["classes"], -2, 0)
    hit_guess, guess, hit_truth, edges = np.moveaxis(sums["boundary"], -1, 0)
    boundary = np.nan_to_num(ratio(2 * hit_guess * hit_truth, hit_guess * edges + hit_truth * guess))
    right, predicted, found, true = np.moveaxis(sums["objects"], -1, 0)
    there = true > 0
    return {
        "iou": iou(sums["classes"]),
        "dice_per_class": ratio(2 * hits, np.where(truth > 0, union + hits, 0)),
        "boundary_f1_per_class": np.where(edges > 0, boundary, np.nan),
        "object_recall_per_class": ratio(found, true),
        "object_precision_per_class": ratio(right, np.where(there, predicted, 0)),
        "object_f1_per_class": ratio(2 * right, np.where(there, predicted + true, 0)),
        "pixel_accuracy": ratio(hits.sum(-1), sums["pixels"]),
        "image_miou": ratio(sums["image_iou"][..., 0], sums["image_iou"][..., 1]),
    }


def others(sums):
    """Keras' mean IoU, and log-loss, Brier score and calibration error per labelled pixel."""
    hits, union, _ = np.moveaxis(sums["keras"], -2, 0)
    return {
        "miou_keras": mean(ratio(hits, union)),
        "log_loss": ratio(sums["log_loss"], sums["pixels"]),
        "brier": ratio(sums["brier"].sum(-1), sums["pixels"]),
        "ece": ratio(np.abs(sums["gap"].sum(-2)).sum(-1), sums["pixels"]),
    }


def scores(tables, groups, classes, background):
    """Return the scores of a run by name, those of classes as a dictionary."""
    names, group_n = np.unique(groups, return_inverse=True)
    sums_n = sums_to_add(tables, background)
    sums_g = {name: add_by_group(values, group_n) for name, values in sums_n.items()}
    sums = {name: values.sum(0) for name, values in sums_n.items()}
    whole, few = shares(sums) | others(sums), len(names) < 10  # no interval can be trusted
    left_out = add_up(1 - np.eye(len(names)), sums_g)
    left = shares(left_out) | others(left_out)
    held_k = (sums_g["classes"][:, 2] > 0).sum(0)
    holders = {"iou": held_k, "dice_per_class": held_k}
    holders["boundary_f1_per_class"] = (sums_g["boundary"][..., 3] > 0).sum(0)
    holders |= dict.fromkeys(
        [name for name in whole if name.startswith("object")], (sums_g["objects"][..., 3] > 0).sum(0)
    )
    found = {"images": len(group_n), "groups": len(names)}

    def put(name, value, limits):
        low, high = (math.nan, math.nan) if few else limits()
        found.update({name: float(value), f"{name}_low": low, f"{name}_high": high})

    for name, held in holders.items():
        limits = class_intervals(whole[name], left[name], held) if not few else [(math.nan, math.nan)] * (1 + len(held))
        of_mean = {"iou": "miou", "dice_per_class": "dice"}.get(name, name.removesuffix("_per_class"))
        put(of_mean, mean(whole[name]), lambda limits=limits: limits[0])
        for end, values in (
            ("", whole[name]),
            ("_low", [a for a, _ in limits[1:]]),
            ("_high", [b for _, b in limits[1:]]),
        ):
            found[name + end] = dict(zip(classes, map(float, values)))
    put(
        "pixel_accuracy",
        whole["pixel_accuracy"],
        lambda: share_interval(whole["pixel_accuracy"], left["pixel_accuracy"], len(names)),
    )
    seen = int((sums_g["image_iou"][:, 1] > 0).sum())
    put("image_miou", whole["image_miou"], lambda: share_interval(whole["image_miou"], left["image_miou"], seen))
    if not few:
        sums_b = add_up(
            draw(len(names)), {name: sums_g[name] for name in ("keras", "pixels", "log_loss", "brier", "gap")}
        )
        drawn = others(sums_b)
    for name in ("miou_keras", "log_loss", "brier"):
        put(name, whole[name], lambda name=name: percentiles(drawn[name], left[name]))
    put("ece", whole["ece"], lambda: ece_interval(sums_b, sums, float(whole["ece"]), left["ece"]))
    if found["miou_keras"] == found["miou"]:
        found |= {f"miou_keras{end}": found[f"miou{end}"] for end in ("_low", "_high")}
    found["ece_per_class"] = dict(zip(classes, map(float, ratio(np.abs(sums["gap"]).sum(-1), sums["taken"]))))
    found["brier_per_class"] = dict(zip(classes, map(float, ratio(sums["brier"], sums["pixels"]))))
    rare_k = (held_k < 20) & (held_k < len(names)) & (not few)
    found["miou_without_rare"] = float(mean(whole["iou"][~rare_k])) if rare_k.any() else math.nan
    left_g, decides = mean(left["iou"]), None
    if not few and freedom_of(left_g) < 2:
        decides = int(np.argmax(np.where(np.isnan(left_g), np.inf, np.abs(left_g - found["miou"]))))
    found["miou_without_group"] = math.nan if decides is None else float(left_g[decides])
    found["deciding_group"] = "" if decides is None else str(names[decides])
    return found

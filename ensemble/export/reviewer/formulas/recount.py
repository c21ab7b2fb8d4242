"""Make the tables of a member or an ensemble again from stored probabilities and labels."""

import numpy as np

from .cheaper import stage_tables
from .images import confusion, image_tables, limits_of_rounding, probability_tables
from .objects import VOID
from .probabilities import decide, decode, pooled, read_image


def recount_member(folder, run, tables):
    """Return the tables of a member with its counts made again, and what differs.

    Its log-loss, Brier score and confidences were added up before the probabilities were rounded to codes, so the
    codes give limits for them.
    """
    classes, problems, stored = len(run["classes"]), [], np.load(folder / "probabilities.npz")
    counts = {name: np.zeros_like(tables[name]) for name in ("confusions", "boundary", "objects")}
    for image in range(len(run["groups"])):
        codes, truth = read_image(stored, image)
        for name, count in image_tables(truth, codes.argmax(0), classes).items():
            counts[name][image] = count
        (low, high), brier = limits_of_rounding(codes, truth)
        sums = np.array([tables["log_loss"][image], *tables["brier_per_class"][image]])
        least, most = np.array([low, *brier[0]]), np.array([high, *brier[1]])
        if ((sums < least - 1e-6 * (1 + least)) | (sums > most + 1e-6 * (1 + most))).any():
            problems.append(f"log-loss or Brier score of image {run['ids'][image]} are beyond what its codes allow")
    problems += [f"other {name} than recorded" for name in counts if (counts[name] != tables[name]).any()]
    count, _, right = np.moveaxis(tables["reliability_per_class"].sum(-1), 2, 0)
    if (count != counts["confusions"].sum(1)).any() or (right != np.diagonal(counts["confusions"], 0, 1, 2)).any():
        problems.append("reliability tables of other predictions than recorded")
    raw = tables.get("raw_confusions", counts["confusions"])
    if (raw.sum(2) != counts["confusions"].sum(2)).any() or (raw[..., :classes] > counts["confusions"]).any():
        problems.append("counts with background of other predictions than recorded")
    return tables | counts, problems


def recount_ensemble(folder, run, tables):
    """Pool the members' probabilities image by image, each with the pool that was fitted without its fold.

    ``folder`` holds the members. Return the tables, what differs, and the confusions of the average and of each member.
    With a budget or a cascade, the tables hold those of the full ensemble, and what each stage of a cascade gets.
    """
    stored = [np.load(folder / name / "probabilities.npz") for name in run["members"]]
    classes, images, fold_n = len(run["classes"]), len(run["groups"]), tables["fold"]
    uniform = {"kind": "pool", "space": "arithmetic", "temperature": 1, "temperatures": [1] * len(stored)}
    uniform["weights"] = np.full((len(stored), classes), 1 / len(stored))
    relabel = np.full(256, VOID)
    relabel[run["channels"][0]] = np.arange(classes)
    rival = run.get("rival_pools")  # of the full ensemble: of all images, then without each fold
    found, average_nkk = [], np.zeros((images, classes, classes), int)
    members_mnkk = np.zeros((len(stored), images, classes, classes), int)
    for image in range(images):
        codes, labels = zip(*(read_image(each, image) for each in stored))
        truth, pool = relabel[labels[0]], run["fold_pools"][fold_n[image]]
        probs_mkhw = [decode(q, channels) for q, channels in zip(codes, run["channels"])]
        mixed = pooled(probs_mkhw, pool)
        found.append(image_tables(truth, decide(mixed, pool), classes) | probability_tables(mixed, truth))
        for p, counts_kk in [
            (pooled(probs_mkhw, uniform), average_nkk[image]),
            *zip(probs_mkhw, members_mnkk[:, image]),
        ]:
            counts_kk[:] = confusion(truth, p.argmax(0), classes)
        if rival:
            full = rival[1 + fold_n[image]]
            found[-1]["rival_confusions"] = confusion(truth, decide(pooled(probs_mkhw, full), full), classes)
        if rival and all(each["kind"] == "cascade" for each in [run["pool"], *run["fold_pools"]]):
            found[-1] |= stage_tables(probs_mkhw, truth, run["pool"], pool)
    made, problems = {name: np.stack([each[name] for each in found]) for name in found[0]}, []
    for name, values in made.items():
        away, size = np.abs(values - tables.get(name, np.zeros_like(values))).sum(), np.abs(values).sum()
        if away > 1e-5 * size:
            problems.append(f"other {name} than recorded")
        elif away > 1e-9 * size:  # float32 functions of another processor differ in the last digit
            made[name] = tables[name]
            print(f"  note: {name} differ by {away / size:.0e} of all, as on another processor; recorded ones are used")
    return made, problems, average_nkk, members_mnkk

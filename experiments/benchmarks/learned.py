"""Learned weights on a million pixels: how long they take, against other optimisers that end at the same log-loss.

Usage: python experiments/benchmarks/learned.py RUNS --out experiments/results/learned.csv
Members of RUNS give the probabilities of the true class at the first labelled pixels of their validation images: the
set "members". Two more sets are made of the best of them by noise on its logit: "near-tied" with a deviation of 0.05 in
every copy, "unequal" with 0.5 in the first copy to 4 in the last. The other methods are scipy's SLSQP with numeric and
with exact gradients (in double precision and, where the gradient is exact, in single, like the stored probabilities),
with scipy's own tolerance of 1e-6 and with 1e-9; and EM from equal weights, until its largest mean of p_m / q is below
1 + 1e-6, which proves it to be within 1e-6 of the optimum, or for --em-steps. On one thread; methods take turns,
seconds are medians. `above_least` is the log-loss in double precision less the least of the set: a method that is more
than 1e-6 above has stopped too early.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from measuring import conditions, write_table
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit
from threadpoolctl import threadpool_limits

from ensemble.combining.alignment import align
from ensemble.combining.convex_weights import fit_convex_weights
from ensemble.evaluation.void import VOID
from ensemble.runs.folder import find_members
from ensemble.runs.member import Member

Floats = NDArray[np.float64]
BLOCK = 1 << 13
SHOWN = ("set", "method", "precision", "tolerance", "seconds", "times_learned", "above_least", "gap")


def true_probabilities(runs: Path, members: int, pixels: int) -> NDArray[np.float32]:
    """(members, pixels) of the true class, from the stores of the first members of ``runs`` by name."""
    aligned = align([Member.open(path) for path in sorted(find_members(runs))[:members]])
    parts: list[NDArray[np.float32]] = []
    for _, probs_mnchw, labels_nhw, *_ in aligned.batches():
        known = labels_nhw != VOID
        place = np.where(known, labels_nhw, 0).astype(np.intp)[None, :, None]
        parts.append(np.take_along_axis(probs_mnchw, place, axis=2)[:, :, 0][:, known])
        if sum(part.shape[1] for part in parts) >= pixels:
            break
    return np.ascontiguousarray(np.concatenate(parts, axis=1)[:, :pixels])


def noisy_copies(probs_p: NDArray[np.float32], noise_m: NDArray[np.float32]) -> NDArray[np.float32]:
    """Members whose logits are those of one member plus noise of these deviations."""
    logits_p = logit(np.minimum(probs_p, np.float32(1 - 1e-6)))
    noise_mp = np.random.default_rng(0).standard_normal((len(noise_m), len(probs_p)), np.float32)
    return expit(logits_p + noise_m[:, None] * noise_mp)


def slsqp(probs_mp: NDArray[Any], *, exact: bool, tolerance: float) -> Floats:
    """Scipy's SLSQP, with a function that is as fast as NumPy allows."""
    members, pixels = probs_mp.shape

    def loss(weights_m: Floats) -> Any:
        pooled = weights_m.astype(probs_mp.dtype) @ probs_mp
        value = -float(np.log(pooled).mean(dtype=np.float64))
        return (value, -(probs_mp @ (1 / pooled)).astype(np.float64) / pixels) if exact else value

    found = minimize(
        loss,
        np.full(members, 1 / members),
        jac=exact,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * members,
        constraints={"type": "eq", "fun": lambda weights_m: weights_m.sum() - 1, "jac": np.ones_like},
        options={"ftol": tolerance, "maxiter": 1000},
    )
    weights_m = np.clip(found.x, 0, None)
    return weights_m / weights_m.sum()


def expectation_maximisation(probs_mp: NDArray[np.float32], *, tolerance: float, steps: int) -> Floats:
    """Textbook EM for the proportions of a mixture, in double precision within blocks."""
    weights_m = np.full(len(probs_mp), 1 / len(probs_mp))
    for _ in range(steps):
        ratio_m = mean_ratio(probs_mp, weights_m)
        if ratio_m.max() < 1 + tolerance:
            break
        weights_m = weights_m * ratio_m
    return weights_m


def blocks(probs_mp: NDArray[np.float32]) -> Iterator[Floats]:
    """The pixels in double precision, a part at a time."""
    return (probs_mp[:, start : start + BLOCK].astype(np.float64) for start in range(0, probs_mp.shape[1], BLOCK))


def mean_ratio(probs_mp: NDArray[np.float32], weights_m: Floats) -> Floats:
    """Mean of p_m / q: 1 at the optimum for members with a weight, at most 1 for the others."""
    return sum(block @ (1 / (weights_m @ block)) for block in blocks(probs_mp)) / probs_mp.shape[1]


def log_loss(probs_mp: NDArray[np.float32], weights_m: Floats) -> float:
    """Mean log-loss in double precision."""
    return -sum(float(np.log(weights_m @ block).sum()) for block in blocks(probs_mp)) / probs_mp.shape[1]


def methods(single: NDArray[np.float32], em_steps: int) -> dict[tuple[str, str, float], Callable[[], Floats]]:
    """Name, precision and tolerance of each method, with a call that runs it."""
    double = single.astype(np.float64)
    made: dict[tuple[str, str, float], Callable[[], Floats]] = {
        ("learned", "single", 1e-6): partial(fit_convex_weights, single.T),
        ("EM", "double", 1e-6): partial(expectation_maximisation, single, tolerance=1e-6, steps=em_steps),
    }
    for tolerance in (1e-6, 1e-9):
        made["SLSQP, numeric gradients", "double", tolerance] = partial(slsqp, double, exact=False, tolerance=tolerance)
        for precision, probs_mp in (("double", double), ("single", single)):
            made["SLSQP, exact gradients", precision, tolerance] = partial(
                slsqp, probs_mp, exact=True, tolerance=tolerance
            )
    return made


def measure(name: str, single: NDArray[np.float32], repeat: int, em_steps: int) -> list[dict[str, Any]]:
    """A row per method; EM, which takes minutes, runs once."""
    calls = methods(single, em_steps)
    seconds: dict[tuple[str, str, float], list[float]] = {key: [] for key in calls}
    found: dict[tuple[str, str, float], Floats] = {}
    for turn in range(repeat):
        for key, call in calls.items():
            if key[0] == "EM" and turn:
                continue
            start = time.perf_counter()
            found[key] = call()
            seconds[key].append(time.perf_counter() - start)
    losses = {key: log_loss(single, weights_m) for key, weights_m in found.items()}
    median = {key: float(np.median(each)) for key, each in seconds.items()}
    learned = next(median[key] for key in calls if key[0] == "learned")
    return [
        {
            "set": name,
            "members": len(single),
            "pixels": single.shape[1],
            "method": key[0],
            "precision": key[1],
            "tolerance": key[2],
            "repetitions": len(seconds[key]),
            "seconds": round(median[key], 4),
            "seconds_least": round(min(seconds[key]), 4),
            "times_learned": round(median[key] / learned, 2),
            "log_loss": round(losses[key], 9),
            "above_least": losses[key] - min(losses.values()),
            "gap": float(mean_ratio(single, found[key]).max() - 1),
            "weights": " ".join(f"{weight:.4f}" for weight in found[key]),
        }
        for key in calls
    ]


def main() -> None:
    """Measure every set and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder whose members are combined")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pixels", type=int, default=1_000_000)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--em-steps", type=int, default=5000)
    plan = parser.parse_args()
    common, rows = conditions(("numpy", "scipy")), list[dict[str, Any]]()
    with threadpool_limits(1):
        single = true_probabilities(plan.runs, plan.members, plan.pixels)
        best_p = single[np.log(single).mean(1).argmax()]
        sets = {"members": single}
        for name, least, most in (("near-tied", 0.05, 0.05), ("unequal", 0.5, 4.0)):
            sets[name] = noisy_copies(best_p, np.linspace(least, most, plan.members, dtype=np.float32))
        for name, probs_mp in sets.items():
            rows += [row | common for row in measure(name, probs_mp, plan.repeat, plan.em_steps)]
            write_table(plan.out, rows, SHOWN)


if __name__ == "__main__":
    main()

"""Runs averaged over seeds, side by side by two factors, and weighed against what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ensemble.core.errors import EnsError
from ensemble.results.best import best
from ensemble.results.columns import COSTS, SCORES, SET, N, class_columns, column, resolve
from ensemble.results.comparable import sets_of

FACTORS = (
    "architecture",
    "encoder",
    "loss",
    "augmentation",
    "sampler",
    "tta",
    "background",
    "seed",
    "folds",
    "epochs",
    "kind",
)
"""What runs may be grouped by, with ``selected``, ``data``, ``git``, ``cpu``, ``device`` and ``protocol``."""
OTHERS = ("selected", "data", "git", "cpu", "device", "protocol")


def by(frame: pd.DataFrame, factors: Sequence[str]) -> pd.DataFrame:
    """Mean and standard deviation over the runs that agree in ``factors``.

    Runs of different data or splits are never averaged: the column ``set`` says which they are of. Ensembles have no
    loss, augmentation and so on; where one of the factors is such, they are left out.

    Args:
        frame: the results table.
        factors: names of columns, such as ``architecture`` (or ``arch``) and ``loss``.

    Returns:
        A row per group, best mIoU first: the factors, ``set``, ``n`` (runs), then the mean of every cost and score and
        its sample standard deviation ``<name>_sd`` (missing for one run). A mean is missing where one of its runs does
        not have the score: means over other runs cannot be compared.

    Raises:
        EnsError: an unknown column, one that is no factor, or one given twice.
    """
    chosen = _factors(frame, factors)
    rows: Any = frame[~incomplete(frame, chosen)]
    rows = rows.assign(**{SET: sets_of(rows)})
    grouped = rows.groupby([*chosen, SET], dropna=False, sort=False, observed=True)
    measured = [*COSTS, *(name for score in SCORES for name in _after(score, frame))]
    values = rows[measured].astype("float64")
    parts: dict[str, Any] = {N: grouped.size().astype("Int64")}
    keys = [rows[name] for name in (*chosen, SET)]
    for name in measured:
        each = values[name].groupby(keys, dropna=False, sort=False, observed=True)
        whole = each.count() == parts[N]
        parts[name] = each.mean().where(whole)
        parts[f"{name}_sd"] = each.std(ddof=1).where(whole)
    made = pd.DataFrame(parts).reset_index()
    return made.sort_values("miou", ascending=False, ignore_index=True, kind="stable")


def _after(score: str, frame: pd.DataFrame) -> list[str]:
    """The score, and the classes' IoU behind the Keras reading."""
    return [score, *(class_columns(frame.columns) if score == "miou_keras" else [])]


def _factors(frame: pd.DataFrame, factors: Sequence[str]) -> list[str]:
    chosen = [resolve(name, frame.columns) for name in factors]
    for name in chosen:
        if name not in (*FACTORS, *OTHERS):
            raise EnsError(f"cannot group by {name}; expected some of {', '.join((*FACTORS, *OTHERS))}")
    if len(set(chosen)) < len(chosen) or not chosen:
        raise EnsError(f"expected different columns to group by, got '{', '.join(factors)}'; give each once")
    return chosen


def incomplete(frame: pd.DataFrame, factors: Sequence[str]) -> pd.Series:
    """The ensembles that lack one of the factors, and so are in no group; a member's encoder may well be none."""
    missing: Any = (frame["kind"] == "ensemble") & frame[_factors(frame, factors)].isna().any(axis=1)
    return missing


def varying(frame: pd.DataFrame, factors: Sequence[str]) -> list[str]:
    """What else than the seed differs between runs that `by` averages; ``options`` where two have the same seed."""
    chosen = _factors(frame, factors)
    rows: Any = frame[~incomplete(frame, chosen)]
    keys = [rows[name] for name in chosen] + [sets_of(rows)]
    others = [name for name in FACTORS if name not in (*chosen, "seed")]
    found = [name for name in others if (rows[name].groupby(keys, dropna=False).nunique(dropna=False) > 1).any()]
    if not found and "seed" not in chosen and rows.assign(set=keys[-1]).duplicated([*chosen, SET, "seed"]).any():
        return ["options"]
    return found


@dataclass(frozen=True)
class Pivot:
    """Means of a score by two factors, one down and one across.

    Attributes:
        score: the column that is averaged.
        means: mean of each pair, indexed by the row factor, and by ``set`` where there are several; missing where there
            is no run, or one that does not have the score.
        counts: number of runs behind each mean.
        best: where the best mean of each set stands.
    """

    score: str
    means: pd.DataFrame
    counts: pd.DataFrame
    best: pd.DataFrame


def pivot(frame: pd.DataFrame, rows: str, columns: str, score: str = "miou") -> Pivot:
    """Means of a score or cost by two factors, such as ``arch`` down and ``loss`` across.

    Raises:
        EnsError: unknown columns, factors that are none, or a score that is neither score nor cost.
    """
    name = resolve(score, frame.columns)
    if not column(name).better:
        raise EnsError(f"expected a score or a cost to show, got {name}; such as miou, log_loss or seconds")
    down, across = _factors(frame, [rows, columns])
    grouped: Any = by(frame, [down, across])
    grouped[across] = grouped[across].astype("string").fillna("-")
    index = [down, SET] if grouped[SET].nunique() > 1 else [down]
    cells = grouped.assign(best=best(grouped)[name])
    means, counts, top = (cells.pivot(index=index, columns=across, values=value) for value in (name, N, "best"))
    return Pivot(name, means.astype("float64"), counts.fillna(0).astype("Int64"), top == True)  # noqa: E712


def pareto(frame: pd.DataFrame, cost: str = "seconds", score: str = "miou") -> pd.Series:
    """Whether nothing that costs no more is better: the runs a person chooses among.

    A row is beaten by another of the same data and split that costs no more and scores no worse, and is better in one
    of the two. Rows alike in both stay together. These are the numbers themselves, whose intervals may overlap.

    Args:
        frame: the results table, or groups made by `by`.
        cost: column that is better low, such as ``seconds``, ``parameters``, ``gflops`` or ``latency_ms``.
        score: column of the score; for log_loss, brier and ece low is better.

    Returns:
        Boolean series; False where cost or score is missing.

    Raises:
        EnsError: unknown columns, a cost or a score that is none.

    Reference:
        Pareto, Manuale di economia politica, 1906 (the concept); Kung et al., On Finding the Maxima of a Set of
        Vectors, 1975, section 2 (two dimensions, by sorting).

    >>> from ensemble.results.columns import COLUMNS
    >>> runs = pd.DataFrame({"seconds": [10.0, 20.0, 30.0], "miou": [0.5, 0.4, 0.6]}).reindex(columns=list(COLUMNS))
    >>> pareto(runs).tolist()
    [True, False, True]
    """
    spent, gained = resolve(cost, frame.columns), resolve(score, frame.columns)
    if column(spent).better != "low":
        raise EnsError(f"expected a cost, got {spent}; choose among {', '.join(COSTS)}")
    if not column(gained).better or gained == spent:
        raise EnsError(f"expected a score to weigh against {spent}, got {gained}; such as miou or log_loss")
    table: Any = frame
    gains = table[gained].astype("float64") * (1 if column(gained).better == "high" else -1)
    if len(table) and table[spent].isna().all():
        raise EnsError(f"expected runs that know their {spent}, got none; take another cost, or train them again")
    pairs: Any = pd.DataFrame({"cost": table[spent].astype("float64"), "gain": gains, SET: sets_of(frame)}).dropna()
    tops = pairs.groupby([SET, "cost"])["gain"].max()  # sorted by cost within each set
    cheaper = tops.groupby(level=SET).cummax().groupby(level=SET).shift()  # the best that costs less
    front = tops[~(cheaper >= tops)]
    keys = pd.MultiIndex.from_frame(pairs[[SET, "cost"]])
    kept = pairs["gain"].to_numpy() == front.reindex(keys).to_numpy()
    return pd.Series(kept, index=pairs.index).reindex(frame.index, fill_value=False)

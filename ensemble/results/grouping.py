"""Average runs over seeds, tabulate them by two factors, and compare scores with costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ensemble.core.errors import EnsError
from ensemble.results.best import best
from ensemble.results.class_scores import class_columns, class_score_columns
from ensemble.results.columns import COSTS, SCORES, SET, N
from ensemble.results.comparable import sets_of
from ensemble.results.find_column import column, resolve

FACTORS = (
    *("architecture", "encoder", "loss", "augmentation", "sampler", "optimiser", "tta"),
    *("crop", "input", "student"),
    "decision",
    *("background", "seed", "folds", "epochs", "kind"),
)
"""Factors by which runs may be grouped; the columns in ``OTHERS`` are allowed, too."""
OTHERS = ("selected", "data", "git", "cpu", "device", "protocol")


def by(frame: pd.DataFrame, factors: Sequence[str]) -> pd.DataFrame:
    """Return mean and standard deviation over the runs that agree in ``factors``.

    Runs of different data or splits are never averaged; the column ``set`` names their data and split. Ensembles have
    no loss and no augmentation, so they are left out if one of these is a factor.

    Args:
        frame: the results table.
        factors: names of columns, such as ``architecture`` (or ``arch``) and ``loss``.

    Returns:
        A row per group, best mIoU first: the factors, ``set``, ``n`` (runs), then the mean of every cost and score and
        its sample standard deviation ``<name>_sd`` (missing for one run). A mean is missing if one of its runs lacks
        the score, because means over different runs cannot be compared.

    Raises:
        EnsError: a column is unknown, is not a factor, or was given twice.
    """
    names = _factors(frame, factors)
    rows: Any = frame[~incomplete(frame, names)]
    rows = rows.assign(**{SET: sets_of(rows)})
    grouped = rows.groupby([*names, SET], dropna=False, sort=False, observed=True)
    measured = [*COSTS, *(name for score in SCORES for name in _after(score, frame))]
    values = rows[measured].astype("float64")
    parts: dict[str, Any] = {N: grouped.size().astype("Int64")}
    keys = [rows[name] for name in (*names, SET)]
    for name in measured:
        each = values[name].groupby(keys, dropna=False, sort=False, observed=True)
        whole = each.count() == parts[N]
        parts[name] = each.mean().where(whole)
        parts[f"{name}_sd"] = each.std(ddof=1).where(whole)
    table = pd.DataFrame(parts).reset_index()
    return table.sort_values("miou", ascending=False, ignore_index=True, kind="stable")


def _after(score: str, frame: pd.DataFrame) -> list[str]:
    """Return the score; ``miou_keras`` is followed by the IoU of the classes, ``object_f1`` by their other scores."""
    followers = {"miou_keras": class_columns, "object_f1": class_score_columns}
    return [score, *(followers[score](frame.columns) if score in followers else [])]


def _factors(frame: pd.DataFrame, factors: Sequence[str]) -> list[str]:
    chosen = [resolve(name, frame.columns) for name in factors]
    for name in chosen:
        if name not in (*FACTORS, *OTHERS):
            raise EnsError(f"cannot group by {name}; expected some of {', '.join((*FACTORS, *OTHERS))}")
    if len(set(chosen)) < len(chosen) or not chosen:
        raise EnsError(f"expected different columns to group by, got '{', '.join(factors)}'; give each once")
    return chosen


def incomplete(frame: pd.DataFrame, factors: Sequence[str]) -> pd.Series:
    """Mark the ensembles that lack one of the factors and so belong to no group; members without an encoder do."""
    missing: Any = (frame["kind"] == "ensemble") & frame[_factors(frame, factors)].isna().any(axis=1)
    return missing


def varying(frame: pd.DataFrame, factors: Sequence[str]) -> list[str]:
    """Return what differs between runs that `by` averages, except the seed; ``options`` if two have the same seed."""
    names = _factors(frame, factors)
    rows: Any = frame[~incomplete(frame, names)]
    keys = [rows[name] for name in names] + [sets_of(rows)]
    others = [name for name in FACTORS if name not in (*names, "seed")]
    differing = [name for name in others if (rows[name].groupby(keys, dropna=False).nunique(dropna=False) > 1).any()]
    if not differing and "seed" not in names and rows.assign(set=keys[-1]).duplicated([*names, SET, "seed"]).any():
        return ["options"]
    return differing


@dataclass(frozen=True)
class Pivot:
    """Means of a score by two factors: one gives the rows, the other the columns.

    Attributes:
        score: the column that is averaged.
        means: mean of each pair, indexed by the row factor, and by ``set`` if there are several; missing if no run has
            the pair, or a run lacks the score.
        counts: number of runs in each mean.
        best: whether a mean is the best of its set.
    """

    score: str
    means: pd.DataFrame
    counts: pd.DataFrame
    best: pd.DataFrame


def pivot(frame: pd.DataFrame, rows: str, columns: str, score: str = "miou") -> Pivot:
    """Return means of a score or cost by two factors, such as ``arch`` for the rows and ``loss`` for the columns.

    Raises:
        EnsError: a column is unknown, a factor is not one, or the score is neither a score nor a cost.
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
    """Mark the runs that no run of at most the same cost beats: the runs a person chooses among.

    A row is beaten by another of the same data and split that costs no more and scores no worse, and is better in one
    of the two. Rows that are equal in both are both marked. The scores are compared as they are; their intervals may
    overlap.

    Args:
        frame: the results table, or groups made by `by`.
        cost: column in which low values are better, such as ``seconds``, ``parameters``, ``gflops`` or ``latency_ms``.
        score: column of the score; low values of log_loss, brier and ece are better.

    Returns:
        Boolean series; False if cost or score is missing.

    Raises:
        EnsError: a column is unknown, or is not a cost or not a score.

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
        raise EnsError(f"no run has its {spent} recorded; choose another cost, or train the members again")
    pairs: Any = pd.DataFrame({"cost": table[spent].astype("float64"), "gain": gains, SET: sets_of(frame)}).dropna()
    tops = pairs.groupby([SET, "cost"])["gain"].max()  # sorted by cost within each set
    cheaper = tops.groupby(level=SET).cummax().groupby(level=SET).shift()  # the best that costs less
    front = tops[~(cheaper >= tops)]
    keys = pd.MultiIndex.from_frame(pairs[[SET, "cost"]])
    kept = pairs["gain"].to_numpy() == front.reindex(keys).to_numpy()
    return pd.Series(kept, index=pairs.index).reindex(frame.index, fill_value=False)

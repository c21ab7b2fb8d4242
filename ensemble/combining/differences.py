"""Compare what is stored of a run with what was recomputed: tables per image, and numbers and texts of any depth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1e-9
"""Largest difference of two scores that are the same."""
OTHER_PROCESSOR = 1e-5
"""Share of a table by which powers and logarithms in float32 may change it on another processor."""


@dataclass(frozen=True)
class Difference:
    """A value of a run that is not what its probabilities and labels give.

    Attributes:
        run: name of the run.
        cell: name of the score, table or part of the verdict.
        stored: the value in the files of the run.
        recomputed: the value that was computed again.
    """

    run: str
    cell: str
    stored: Any
    recomputed: Any

    def __str__(self) -> str:
        return f"{self.run}: {self.cell} is {self.stored}, recomputed {self.recomputed}"


def other_tables(
    run: str, stored: Mapping[str, NDArray[Any]], made: Mapping[str, NDArray[Any]], share: float
) -> Iterator[Difference]:
    """Yield the tables that are missing, or that differ by more than a share of their sum.

    Args:
        run: name of the run.
        stored: tables with a row per image.
        made: the recomputed ones.
        share: share of the sum of a table.
    """
    for name, values in made.items():
        if name not in stored or stored[name].shape != values.shape:
            shape = stored[name].shape if name in stored else "missing"
            yield Difference(run, f"the shape of the table {name}", shape, values.shape)
            continue
        away_n = np.abs(values - stored[name]).reshape(len(values), -1).sum(1)
        if away_n.sum() > share * np.abs(values).sum():
            image = int(away_n.argmax())
            sums = (float(table[image].sum()) for table in (stored[name], values))
            yield Difference(
                run, f"the table {name} of {np.count_nonzero(away_n)} images (sum of image {image})", *sums
            )


def other_values(run: str, made: Any, stored: Any, cell: str = "") -> Iterator[Difference]:
    """Yield all numbers and texts that differ, in dictionaries of any depth.

    What is not stored claims nothing: earlier versions knew fewer scores.

    >>> made, stored = {"use": "member", "miou": {"sand": 0.5}}, {"miou": {"sand": 0.6}}
    >>> [str(each) for each in other_values("unet", made, stored)]
    ['unet: miou, sand is 0.6, recomputed 0.5']
    """
    if isinstance(made, Mapping) and isinstance(stored, Mapping):
        for name, value in made.items():
            if name in stored:
                yield from other_values(run, value, stored[name], f"{cell}, {name}" if cell else str(name))
    elif not _same(made, stored):
        yield Difference(run, cell, stored, made)


def _same(made: Any, stored: Any) -> bool:
    if isinstance(made, float) or isinstance(stored, float):
        if made is None or stored is None:
            return all(value is None or math.isnan(value) for value in (made, stored))
        return isinstance(stored, float | int) and abs(made - stored) <= TOLERANCE
    if isinstance(made, Sequence) and not isinstance(made, str):
        return isinstance(stored, Sequence) and len(made) == len(stored) and all(map(_same, made, stored))
    return made == stored

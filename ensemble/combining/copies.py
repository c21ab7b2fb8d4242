"""Name members that are nearly the same: an average or a vote counts them twice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ensemble.combining.arithmetic import first_class
from ensemble.combining.fit_data import FitData

MOST = 50_000  # pixels on which members are compared
CLOSE = 0.05  # share of the pixels where one of two members is wrong; below it both are wrong in the same way


def near_copies(fit_data: FitData, names: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence for each member that is nearly the same as one before it.

    Two members are, if they decide differently on less than 5 % of the pixels where one of them is wrong: the share of
    all pixels would be small for any two good members.

    Args:
        fit_data: the members' probabilities.
        names: their names.
    """
    some = fit_data.thin(MOST)
    decided_mp = first_class(some.probs_mcp).astype(np.uint8)
    wrong_mp = decided_mp != some.labels_p
    sentences: list[str] = []
    for later in range(1, len(names)):
        apart_m = (decided_mp[:later] != decided_mp[later]).sum(1)
        wrong_m = (wrong_mp[:later] | wrong_mp[later]).sum(1)
        close = np.flatnonzero(apart_m < CLOSE * wrong_m)
        if len(close):
            first = int(close[0])
            share = f"other classes on {100 * apart_m[first] / some.pixels:.2g} % of the pixels"
            sentences.append(
                f"{names[later]} is nearly the same member as {names[first]}"
                f" ({share if apart_m[first] else 'no pixel differs'}), so it counts twice;"
                f" leave {names[later]} out."
            )
    return tuple(sentences)

"""Read fitted combiners back from the plain numbers they are stored as."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ensemble.combining.combiner import Combiner
from ensemble.combining.methods.stacking import Stacking
from ensemble.combining.methods.vote import Vote
from ensemble.combining.pool import Pool
from ensemble.core.errors import EnsError
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.member import Member

KINDS: dict[str, type[Combiner]] = {kind.KIND: kind for kind in (Pool, Stacking, Vote)}


def load_combiner(content: Mapping[str, Any]) -> Combiner:
    """The combiner that ``to_json`` described; one without a kind is a Pool, as the first release wrote it.

    Raises:
        EnsError: a kind this version does not know, or damaged parameters.
    """
    kind = content.get("kind", Pool.KIND)
    if kind not in KINDS:
        raise EnsError(
            f"expected an ensemble of kind {', '.join(KINDS)}, got '{kind}'; upgrade ens-toolkit or combine again"
        )
    return KINDS[kind].from_json(content)


def read_pool(ensemble: Ensemble) -> Combiner:
    """Return the fitted combiner of an ensemble.

    Raises:
        EnsError: a kind this version does not know, or damaged parameters.
    """
    return load_combiner(ensemble.pool)


def active_members(ensemble: Ensemble) -> tuple[list[Member], Combiner]:
    """Return the members whose weight is not zero, and the combiner of these alone: all it takes to predict."""
    pool, members = read_pool(ensemble), ensemble.members()
    places = np.flatnonzero(pool.weights_m).tolist() or [0]  # a regression may come out as its bias alone
    return [members[m] for m in places], pool.only(places)

"""Read fitted combiners back from the plain numbers they are stored as."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ensemble.combining.cascade import Cascade
from ensemble.combining.combiner import Combiner, damaged
from ensemble.combining.methods.stacking import Stacking
from ensemble.combining.methods.vote import Vote
from ensemble.combining.pool import Pool
from ensemble.core.errors import EnsError
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.member import Member

KINDS: dict[str, type[Combiner]] = {kind.KIND: kind for kind in (Pool, Stacking, Vote, Cascade)}


def load_combiner(content: Mapping[str, Any]) -> Combiner:
    """Return the combiner with the parameters of ``to_json``; without a kind it is a Pool, as in the first release.

    Raises:
        EnsError: a kind this version does not know, or damaged parameters.
    """
    kind = content.get("kind", Pool.KIND)
    if kind not in KINDS:
        raise EnsError(
            f"expected an ensemble of the kind {', '.join(KINDS)}, got '{kind}'; upgrade ens-toolkit or combine again"
        )
    if kind == Cascade.KIND:
        content = {**content, "stages": _stages(content.get("stages"))}
    return KINDS[kind].from_json(content)


def _stages(content: Any) -> list[Combiner]:
    stages = [cast(Any, stage) for stage in content if isinstance(stage, Mapping)] if isinstance(content, list) else []
    if not stages or any(stage.get("kind") == Cascade.KIND for stage in stages):
        raise damaged(ValueError("its stages are no pools"))
    return [load_combiner(stage) for stage in stages]


def read_pool(ensemble: Ensemble) -> Combiner:
    """Return the fitted combiner of an ensemble.

    Raises:
        EnsError: a kind this version does not know, or damaged parameters.
    """
    return load_combiner(ensemble.pool)


def active_members(ensemble: Ensemble) -> tuple[list[Member], Combiner]:
    """Return the members whose weight is not zero, and their combiner: all that predicting needs."""
    pool, names = read_pool(ensemble), ensemble.settings.members
    return [ensemble.member(names[m]) for m in pool.used], pool.only(pool.used)

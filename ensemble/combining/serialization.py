"""Combiners read back by their kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ensemble.combining.combiner import Combiner
from ensemble.combining.methods.stacking import Stacking
from ensemble.combining.methods.vote import Vote
from ensemble.combining.pool import Pool
from ensemble.core.errors import EnsError

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

"""How probabilities are combined: the Pool, one file per way of choosing its parameters, and honest scores."""

# One line per file of methods; their order is that of simplicity, in which `auto` prefers them.
# isort: off
from ensemble.pool import average
from ensemble.pool import weighted
from ensemble.pool import vote
from ensemble.pool import geometric
from ensemble.pool import learned
from ensemble.pool import greedy
from ensemble.pool import per_class
from ensemble.pool import stacking
from ensemble.pool import auto
# isort: on

from ensemble.pool.combiner import Combiner
from ensemble.pool.pool import Pool
from ensemble.pool.registry import COMBINERS

__all__ = [
    "COMBINERS",
    "Combiner",
    "Pool",
    "auto",
    "average",
    "geometric",
    "greedy",
    "learned",
    "per_class",
    "stacking",
    "vote",
    "weighted",
]

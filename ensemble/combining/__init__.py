"""How probabilities are combined: the Pool, one file per way of choosing its parameters, and honest scores."""

# One line per file of methods; their order is that of simplicity, in which `auto` prefers them.
# isort: off
from ensemble.combining.methods import average
from ensemble.combining.methods import weighted
from ensemble.combining.methods import vote
from ensemble.combining.methods import geometric
from ensemble.combining.methods import learned
from ensemble.combining.methods import greedy
from ensemble.combining.methods import per_class
from ensemble.combining.methods import stacking
from ensemble.combining.methods import auto
# isort: on

from ensemble.combining.combiner import Combiner
from ensemble.combining.pool import Pool
from ensemble.combining.registry import COMBINERS

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

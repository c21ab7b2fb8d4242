"""How probabilities are combined: the Pool, one file per way of choosing its parameters, and honest scores."""

from ensemble.pool import average, learned, weighted  # one line per file of methods
from ensemble.pool.pool import Pool
from ensemble.pool.registry import COMBINERS

__all__ = ["COMBINERS", "Pool", "average", "learned", "weighted"]

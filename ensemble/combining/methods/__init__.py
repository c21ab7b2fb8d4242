"""Methods of combining: one file per method, each a factory ``(fit_data, *, options) -> Combiner``."""

# One line per file, in the order of simplicity: `auto` prefers the methods in this order.
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

__all__ = ["auto", "average", "geometric", "greedy", "learned", "per_class", "stacking", "vote", "weighted"]

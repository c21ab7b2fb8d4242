"""Are two runs different, what does one setting do, and how much data would it take to know?"""

from ensemble.comparison.factor_levels import FACTORS
from ensemble.comparison.factors import Effect, FactorEffect, factor_effect
from ensemble.comparison.pairs import Comparisons, Difference, compare_runs
from ensemble.comparison.sample_size import Power, power

__all__ = [
    "FACTORS",
    "Comparisons",
    "Difference",
    "Effect",
    "FactorEffect",
    "Power",
    "compare_runs",
    "factor_effect",
    "power",
]

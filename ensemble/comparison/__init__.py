"""Compare runs in pairs, estimate the effect of one setting, and estimate how much data a difference needs."""

from ensemble.comparison.factor_levels import FACTORS
from ensemble.comparison.factors import factor_effect
from ensemble.comparison.outcomes import Comparisons, Difference, Effect, FactorEffect, Power
from ensemble.comparison.pairs import compare_runs
from ensemble.comparison.sample_size import power

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

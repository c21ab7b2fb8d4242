"""Combine the probabilities of members: the pool, the methods that choose its parameters, and cross-fitted scores."""

from ensemble.combining import methods  # registers every method
from ensemble.combining.combiner import Combiner
from ensemble.combining.pool import Pool
from ensemble.combining.registry import COMBINERS

__all__ = ["COMBINERS", "Combiner", "Pool", "methods"]

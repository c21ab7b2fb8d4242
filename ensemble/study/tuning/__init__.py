"""Tune the options of one architecture and one loss with Optuna, on images that no member is scored on."""

from ensemble.study.tuning.run import Tuned, tune
from ensemble.study.tuning.space import TunedOption, search_space, train_arguments

__all__ = ["Tuned", "TunedOption", "search_space", "train_arguments", "tune"]

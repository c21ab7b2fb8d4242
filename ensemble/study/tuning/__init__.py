"""Tuning: better options for one architecture and one loss, looked for by Optuna on images that judge no member."""

from ensemble.study.tuning.run import Tuned, tune
from ensemble.study.tuning.space import Knob, search_space, train_arguments

__all__ = ["Knob", "Tuned", "search_space", "train_arguments", "tune"]

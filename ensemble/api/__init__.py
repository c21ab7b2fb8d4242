"""The commands as Python functions: ``ensemble.train``, ``combine``, ``predict``, ``load``."""

from ensemble.api.combining import combine, combine_all
from ensemble.api.data import DataCheck, check_data, data_settings
from ensemble.api.prediction import find_model, load, predict
from ensemble.api.training import plan, train

__all__ = [
    "DataCheck",
    "check_data",
    "combine",
    "combine_all",
    "data_settings",
    "find_model",
    "load",
    "plan",
    "predict",
    "train",
]

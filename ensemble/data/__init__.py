"""Data sets, splits, cleaning and augmentation."""

from ensemble.data.dataset import VOID, Dataset
from ensemble.data.opening import open_dataset
from ensemble.data.split import Split, check_classes, group_folds, split_data, split_dataset

__all__ = ["VOID", "Dataset", "Split", "check_classes", "group_folds", "open_dataset", "split_data", "split_dataset"]

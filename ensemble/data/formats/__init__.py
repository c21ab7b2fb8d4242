"""Formats of data sets, one file each, and the readers that they share."""

# One line per file; the first one asks first.
# isort: off
from ensemble.data.formats import images_and_masks
from ensemble.data.formats import camvid
from ensemble.data.formats import voc
from ensemble.data.formats import cityscapes
from ensemble.data.formats import nnunet
from ensemble.data.formats import object_masks
from ensemble.data.formats import coco
from ensemble.data.formats import run_lengths
from ensemble.data.formats import arrays
from ensemble.data.formats import pairs
# isort: on

__all__ = [
    "arrays",
    "camvid",
    "cityscapes",
    "coco",
    "images_and_masks",
    "nnunet",
    "object_masks",
    "pairs",
    "run_lengths",
    "voc",
]

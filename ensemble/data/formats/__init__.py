"""Formats of data sets, one file each, and the readers that they share."""

# One line per file; the first one asks first.
# isort: off
from ensemble.data.formats import images_and_masks
from ensemble.data.formats import coco
from ensemble.data.formats import run_lengths
# isort: on

__all__ = ["coco", "images_and_masks", "run_lengths"]

"""Formats of data sets, one file each, and the readers that they share; the first import line asks first."""

from ensemble.data.formats import images_and_masks

__all__ = ["images_and_masks"]

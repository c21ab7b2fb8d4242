"""Ensembles for semantic segmentation: train members independently, combine them, judge them honestly."""

"""The label of pixels without a class."""

from __future__ import annotations

VOID = 255
"""Label of pixels without a class, in every array of labels inside this package; the classes are 0..K-1."""

"""See images and labels of other data as a model sees its own: its bands, its units, its classes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.data import Dataset
from ensemble.data.formats.pixels import to_unit
from ensemble.evaluation.void import VOID
from ensemble.inference.bands import with_bands
from ensemble.inference.predictor import Predictor


def class_channels(predictor: Predictor, dataset: Dataset) -> NDArray[np.uint8]:
    """Return the table from labels of the data to channels of the model: classes of one name, else of one id.

    Raises:
        EnsError: the data have a class that the model does not know; the text names it.
    """
    table = np.full(256, VOID, np.uint8)
    for label, (name, value) in enumerate(zip(dataset.classes, dataset.values, strict=True)):
        if name in predictor.classes:
            table[label] = predictor.classes.index(name)
        elif value in predictor.values and _unnamed(name, predictor.classes[predictor.values.index(value)]):
            table[label] = predictor.values.index(value)
        elif (value or 0 in predictor.values) and dataset.counts_nk[:, label].any():  # else a background, which is void
            known = ", ".join(
                f"{value} {name}" for value, name in zip(predictor.values, predictor.classes, strict=True)
            )
            raise EnsError(
                f"{dataset.name} has the class '{name}' (id {value}), but {predictor.name} knows {known}; name the"
                " classes as the model does, or make this class void"
            )
    return table


def _unnamed(*names: str) -> bool:
    """Return whether one of the names only repeats an id."""
    return any(re.fullmatch(r"class \d+", name) for name in names)


def model_image(predictor: Predictor, dataset: Dataset, unit: NDArray[Any]) -> NDArray[Any]:
    """Return an image with the bands and in the units of the model."""
    image = with_bands(unit, predictor.facts.bands)
    here, there = dataset.source.span, predictor.facts.span
    if here == there:
        return image
    pixels: Any = image
    raw = pixels if pixels.dtype == np.uint8 else pixels * np.float32(here[1] - here[0]) + np.float32(here[0])
    return to_unit(raw, there, f"the images of {dataset.name}")

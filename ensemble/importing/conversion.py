"""Convert the numbers of another tool to probabilities of the scored classes, by explicit rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError, UnknownName
from ensemble.data import Dataset
from ensemble.importing.readers import Predictions
from ensemble.runs.store.codec import decode, encode

Channels = Literal["scored", "all"]
CHANNELS = ("scored", "all")
TOLERANCE, BFLOAT16_TOLERANCE = (
    1e-3,
    5e-3,
)  # of the sum of probabilities; rounding to bfloat16 moves a sum by up to 0.004
ROUNDING = 1e-6  # a sum this close to 1 counts as 1, so that float32 probabilities stay the same bits
SMALLEST = np.float32(1e-12)


@dataclass(frozen=True)
class Conversion:
    """How the maps of one file become probabilities.

    Attributes:
        kind: ``probabilities``, ``logits`` or ``class maps``.
        channels: ``scored`` for the scored classes only, ``all`` for all ids of the data set.
        ids: the data set's own id of each channel.
        scored: channel of each scored class.
    """

    kind: Literal["probabilities", "logits", "class maps"]
    channels: Channels
    ids: tuple[int, ...]
    scored: tuple[int, ...]

    def probabilities(
        self, maps: Sequence[NDArray[np.generic]], names: Sequence[str], top: int = 0
    ) -> tuple[NDArray[np.float32], NDArray[np.intp] | None]:
        """Return the probabilities of the scored classes, and the winners if a channel was dropped.

        A background channel is dropped, and the remaining channels are renormalised. At a pixel at which no other
        channel has any probability, all classes become equally probable.

        Args:
            maps: a map per image of one size, or the same rows of each, as the file holds them; see :meth:`check`.
            names: id of each image, for error messages.
            top: first row of the maps in their images, for error messages.

        Returns:
            Probabilities (n, k, h, w), and the channels that won (n, h, w), in which k stands for the background; the
            second is None if no channel was dropped.

        Raises:
            EnsError: values that do not fit the kind.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN are reported below
            all_nchw = self._all_channels(np.stack(maps), names, top)
        dropped = [channel for channel in range(len(self.ids)) if channel not in self.scored]
        if not dropped:
            return _normalised(all_nchw), None
        winners = all_nchw[:, [*self.scored, *dropped]].argmax(1)
        return _normalised(np.maximum(all_nchw[:, self.scored], SMALLEST)), np.minimum(winners, len(self.scored))

    def check(self, array: NDArray[np.generic], name: str, size: tuple[int, int]) -> None:
        """Refuse a map whose height, width or channels are not those of its image.

        Raises:
            EnsError: another shape.
        """
        shape = size if self.kind == "class maps" else (len(self.ids), *size)
        if array.shape != shape:
            raise EnsError(
                f"expected {self.kind} of shape {shape} like the data, got {array.shape} for image '{name}'; predict"
                " native pixels, and write a folder with a file per image if the images differ in size"
            )

    def _all_channels(self, stack: NDArray[np.generic], names: Sequence[str], top: int) -> NDArray[np.float32]:
        if self.kind == "class maps":
            return _one_hot(stack, self.ids, names, top)
        if self.kind == "logits":
            return _softmax(_floats(stack, names), names)
        tolerance = BFLOAT16_TOLERANCE if stack.dtype.kind == "V" else TOLERANCE
        return _checked(_floats(stack, names), tolerance, names, top)


def choose_conversion(
    predictions: Predictions, dataset: Dataset, *, logits: bool = False, channels: str | None = None
) -> Conversion:
    """Return how predictions are converted, from the names and the numbers of arrays and channels.

    The numbers are logits if the array is called ``logits`` or the argument says so, else probabilities. One channel
    per scored class means the scored classes; one channel per id of the data set (the background has an id too) means
    all ids, in ascending order.

    Raises:
        EnsError: another number of channels, or names of channels that differ from those of the data set.
    """
    if channels is not None and channels not in CHANNELS:
        raise UnknownName("kind of channels", channels, CHANNELS)
    all_ids = tuple(sorted(dataset.names))
    if predictions.shape is None:
        if logits or channels:
            raise EnsError(
                f"{'logits' if logits else 'channels'} goes with probabilities or logits, but {predictions.path}"
                " holds class maps; drop the option"
            )
        return Conversion("class maps", "all", all_ids, _where(all_ids, dataset.values))
    count, scored = predictions.shape[0], len(dataset.values)
    layout = channels or ("scored" if count == scored else "all")
    ids = dataset.values if layout == "scored" else all_ids
    if count != len(ids):
        expected = f"{scored} channels for the scored classes or {len(all_ids)} for all ids of the data set"
        if channels:
            expected = f"{len(ids)} channels for channels {channels}"
        raise EnsError(
            f"expected {expected}, got {count} in {predictions.path}; write one channel per class, in the order of ids"
        )
    names = tuple(dataset.names[value] for value in ids)
    if predictions.classes is not None and predictions.classes != names:
        raise EnsError(
            f"expected the channels {', '.join(names)}, but {predictions.path} calls them"
            f" {', '.join(predictions.classes)}; reorder the channels, or drop the array 'classes' if only the words"
            " differ"
        )
    kind = "logits" if logits or predictions.key == "logits" else "probabilities"
    return Conversion(kind, "scored" if ids == dataset.values else "all", ids, _where(ids, dataset.values))


def _where(ids: tuple[int, ...], values: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(ids.index(value) for value in values)


def _floats(stack: NDArray[np.generic], names: Sequence[str]) -> NDArray[np.float32]:
    """Convert any floating type to float32; NumPy saves bfloat16 as two bytes without a type."""
    if stack.dtype.kind == "V" and stack.dtype.itemsize == 2:
        return (stack.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    if stack.dtype.kind != "f":
        raise EnsError(
            f"expected floating numbers (float16, bfloat16, float32 or float64), got {stack.dtype} for image"
            f" '{names[0]}'; write class maps as a folder of PNG files"
        )
    return stack.astype(np.float32)


def _softmax(logits_nchw: NDArray[np.float32], names: Sequence[str]) -> NDArray[np.float32]:
    if logits_nchw.min() >= 0 and bool((np.abs(logits_nchw.sum(1) - 1) <= TOLERANCE).all()):
        raise EnsError(
            f"expected logits, but those of image '{names[0]}' are all >= 0 and sum to 1 as probabilities do; drop"
            " logits, or rename the array to 'probabilities'"
        )
    exp_nchw = np.exp(logits_nchw - logits_nchw.max(1, keepdims=True))
    bad = np.isnan(exp_nchw).any(axis=(1, 2, 3))
    if bad.any():
        raise EnsError(
            f"expected finite logits, got NaN or infinity for image '{names[int(bad.argmax())]}'; export it again"
        )
    return exp_nchw / exp_nchw.sum(1, keepdims=True)


def _checked(probs_nchw: NDArray[np.float32], tolerance: float, names: Sequence[str], top: int) -> NDArray[np.float32]:
    sums_nhw = probs_nchw.sum(1)
    # The condition is negated so that NaN, for which every comparison is false, is refused too.
    bad_nhw = ~((np.abs(sums_nhw - 1) <= tolerance) & (probs_nchw >= 0).all(1))
    if bad_nhw.any():
        image, row, column = (int(axis[0]) for axis in np.nonzero(bad_nhw))
        values = ", ".join(f"{value:.4g}" for value in probs_nchw[image, :8, row, column])
        raise EnsError(
            f"expected probabilities >= 0 that sum to 1 within {tolerance:g}, got ({values}) with the sum"
            f" {sums_nhw[image, row, column]:.4g} for image '{names[image]}' at row {top + row}, column {column}; pass"
            " logits if these are logits"
        )
    return probs_nchw


def _one_hot(
    maps_nhw: NDArray[np.generic], ids: tuple[int, ...], names: Sequence[str], top: int
) -> NDArray[np.float32]:
    """Return one-hot probabilities as the store keeps them: nearly 1 for the class of the map, 3.1e-6 for others."""
    hot_nchw = np.stack([maps_nhw == value for value in ids], axis=1).astype(np.float32)
    unknown_nhw = hot_nchw.sum(1) == 0
    if unknown_nhw.any():
        image, row, column = (int(axis[0]) for axis in np.nonzero(unknown_nhw))
        raise EnsError(
            f"expected class maps of the data set's ids {', '.join(map(str, ids))}, got"
            f" {maps_nhw[image, row, column]} for image '{names[image]}' at row {top + row}, column {column}; map the"
            " values to these ids"
        )
    return decode(encode(hot_nchw))


def _normalised(probs_nchw: NDArray[np.float32]) -> NDArray[np.float32]:
    sums_n1hw = probs_nchw.sum(1, keepdims=True)
    sums_n1hw[np.abs(sums_n1hw - 1) <= ROUNDING] = 1
    return probs_nchw / sums_n1hw

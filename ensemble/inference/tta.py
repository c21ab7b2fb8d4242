"""Test-time augmentation: the mean prediction over flipped and transposed views of an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from ensemble.config import Tta
from ensemble.core.errors import UnknownName

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class View:
    """A symmetry of the pixel grid: optionally reverse rows and columns, then optionally transpose."""

    rows: bool = False
    columns: bool = False
    transposed: bool = False

    def of(self, images: Tensor) -> Tensor:
        """Return this view of images (..., h, w); a transposed view has the shape (..., w, h)."""
        flipped = self._flip(images)
        return flipped.mT if self.transposed else flipped

    def undo(self, maps: Tensor) -> Tensor:
        """Return the maps of a view with every pixel moved back to its place in the image."""
        return self._flip(maps.mT if self.transposed else maps)

    def _flip(self, maps: Tensor) -> Tensor:
        axes = [axis for axis, reversed_ in ((-2, self.rows), (-1, self.columns)) if reversed_]
        return maps.flip(axes) if axes else maps


_FLIPS = tuple(View(rows, columns) for rows in (False, True) for columns in (False, True))
_TRANSPOSED = tuple(View(view.rows, view.columns, transposed=True) for view in _FLIPS)

VIEWS: Mapping[Tta, tuple[View, ...]] = {
    "none": _FLIPS[:1],
    "hflip": (View(), View(columns=True)),
    "vflip": (View(), View(rows=True)),
    "flips": _FLIPS,
    "d4": _FLIPS + _TRANSPOSED,
}
"""Views by name. Each set is a group, so the mean prediction is equivariant to it, whatever the network does."""


def check_tta(name: str) -> Tta:
    """Return ``name`` if it is a test-time augmentation.

    Raises:
        UnknownName: the name is unknown; the text has a suggestion.
    """
    if name not in VIEWS:
        raise UnknownName("test-time augmentation", name, VIEWS)
    return cast(Tta, name)


def mean_over_views(predict: Callable[[Tensor], Tensor], images_nchw: Tensor, tta: Tta) -> Tensor:
    """Return the mean prediction over the views of images: 1/V * sum over v of v^-1(predict(v(images))).

    Views are predicted one after another, so memory holds the sum and one view. The mean of probabilities sums to 1.

    Args:
        predict: function from images (n, c, h, w) to probabilities (n, k, h, w); ``d4`` also calls it with (w, h).
        images_nchw: images of any height and width.
        tta: ``none`` (1 view), ``hflip`` or ``vflip`` (2: identity and the left-right or up-down mirror), ``flips``
            (4: identity, both mirrors, half turn) or ``d4`` (8: these and their transposes, which include the quarter
            turns).

    Returns:
        Probabilities (n, k, h, w).

    Reference:
        Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks, 2012, section 4.1 (mean over
        mirrored views); Shanmugam et al., Better Aggregation in Test-Time Augmentation, 2021 (when it helps, and that
        it can turn correct predictions into wrong ones).

    >>> import torch
    >>> leftmost = lambda images: images[..., :1].expand_as(images)
    >>> mean_over_views(leftmost, torch.tensor([[[[0.0, 1.0, 2.0], [3.0, 4.0, 9.0]]]]), "flips")[0, 0].tolist()
    [[1.0, 1.0, 1.0], [6.0, 6.0, 6.0]]
    """
    first, *others = VIEWS[tta]
    total_nchw = first.undo(predict(first.of(images_nchw)))
    for view in others:
        total_nchw = total_nchw + view.undo(predict(view.of(images_nchw)))
    return total_nchw / len(VIEWS[tta])

"""Remove small objects from class maps: each gets the class of most pixels next to it.

A hole in an object is an object of another class, so holes are filled, too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.evaluation.confusion import confusion_per_image, mean_iou
from ensemble.evaluation.objects import Runs
from ensemble.evaluation.void import VOID

SIZES = (1, 2, 4, 8, 16, 32, 64)
"""What ``auto`` chooses from, in pixels: objects of fewer pixels are removed, so 1 keeps all."""
LARGEST = 1024  # as many rows around a strip decide about its objects
BETTER = 1e-4  # gain in mIoU for which objects of a class are removed


class SmallObjects(NamedTuple):
    """The pixels of all small objects of class maps.

    Attributes:
        place_p: place of each pixel in the flattened maps.
        area_p: number of pixels of its object.
        around_p: class of most pixels next to its object, the first of equals.
    """

    place_p: NDArray[np.intp]
    area_p: NDArray[np.intp]
    around_p: NDArray[np.intp]


def small_objects(classes_nhw: NDArray[np.integer[Any]], classes: int, smallest: int) -> SmallObjects:
    """Return the pixels of the objects of fewer than ``smallest`` pixels.

    An object is a connected set of pixels of one class; pixels that share a corner are connected, as in
    `ensemble.evaluation.objects`. Next to it are the pixels that share a side with one of its pixels, each counted once
    per side.

    Args:
        classes_nhw: class of each pixel (n, h, w).
        classes: number of classes.
        smallest: pixels of the smallest object that is not returned.

    >>> small_objects(np.array([[[0, 0, 1, 0]]]), classes=2, smallest=2)
    SmallObjects(place_p=array([2, 3]), area_p=array([1, 1]), around_p=array([0, 1]))
    """
    height, width = classes_nhw.shape[1:]
    runs = Runs.of(classes_nhw)
    object_r, length_r = runs.objects(height, width), np.diff(runs.starts, append=classes_nhw.size)
    area_o = np.bincount(object_r, length_r).astype(np.intp)
    small_o = np.less(area_o, smallest)
    number_o = np.where(small_o, np.cumsum(small_o) - 1, -1)  # of the small objects; -1 for others
    number_nhw = np.repeat(number_o[object_r], length_r).reshape(classes_nhw.shape)
    place_p = np.flatnonzero(number_nhw >= 0)
    around_oc = np.zeros(int(small_o.sum()) * classes, np.intp)
    for axis in (1, 2):
        one, other = (np.s_[:, :-1], np.s_[:, 1:]) if axis == 1 else (np.s_[:, :, :-1], np.s_[:, :, 1:])
        for inside, outside in ((one, other), (other, one)):
            number, other_class = number_nhw[inside], classes_nhw[outside]
            touches = (number >= 0) & (classes_nhw[inside] != other_class)
            cells = number[touches] * classes + other_class[touches].astype(np.intp)
            around_oc += np.bincount(cells, minlength=len(around_oc))
    table_oc = around_oc.reshape(-1, classes)
    number_p = number_nhw.ravel()[place_p]
    alone_p = table_oc.max(1)[number_p] == 0  # it fills its image
    around_p = np.where(alone_p, classes_nhw.ravel()[place_p], table_oc.argmax(1)[number_p])
    return SmallObjects(place_p, area_o[small_o][number_p], around_p)


def without_small_objects(
    classes_nhw: NDArray[Any], smallest_c: NDArray[np.integer[Any]], rows: slice = slice(None)
) -> NDArray[Any]:
    """Return class maps in which the objects with fewer pixels than ``smallest_c`` of their class are removed.

    All are removed at once: each gets the class of most pixels next to it, whether that is removed or not.

    Args:
        classes_nhw: class of each pixel of whole images (n, h, w).
        smallest_c: pixels of the smallest object of each class that stays; 1 keeps all.
        rows: the rows that are wanted; only those near them are looked at.

    >>> without_small_objects(np.array([[[0, 0, 1, 0]]]), np.array([1, 2]))
    array([[[0, 0, 0, 0]]])
    """
    height = classes_nhw.shape[1]
    top, bottom, _ = rows.indices(height)
    smallest = int(smallest_c.max())
    # An object at these rows that reaches beyond the rows around them has at least `smallest` pixels.
    first, last = max(0, top - smallest), min(height, bottom + smallest)
    near_nhw = classes_nhw[:, first:last]
    cleaned_nhw = near_nhw.copy()
    if smallest > 1 and near_nhw.size:
        place_p, area_p, around_p = small_objects(near_nhw, len(smallest_c), smallest)
        gone_p = area_p < smallest_c[near_nhw.ravel()[place_p].astype(np.intp)]
        cleaned_nhw.ravel()[place_p[gone_p]] = around_p[gone_p]
    return cleaned_nhw[:, top - first : bottom - first]


class SizeTable:
    """Counts from which the smallest objects that give the largest mean IoU follow; images are added one by one.

    Whether an object is removed changes nothing for the others. So the confusion matrix at every choice of sizes is
    that without removal, plus a change for each class that depends on the size of this class alone.

    Args:
        classes: number of classes.
    """

    def __init__(self, classes: int) -> None:
        self.confusion_kk = np.zeros((classes, classes), np.int64)
        self._moved_cstk = np.zeros((classes, len(SIZES), classes, classes), np.int64)

    def add(
        self, labels_nhw: NDArray[np.uint8], decided_nhw: NDArray[np.integer[Any]], inside: slice = slice(None)
    ) -> None:
        """Add images, or a strip of one.

        Args:
            labels_nhw: labels with void 255.
            decided_nhw: class of each pixel; around a strip with at least ``SIZES[-1]`` rows more, as far as there are.
            inside: rows of ``decided_nhw`` that ``labels_nhw`` has.
        """
        classes = len(self.confusion_kk)
        self.confusion_kk += confusion_per_image(labels_nhw, decided_nhw[:, inside], classes).sum(0)
        place_p, area_p, around_p = small_objects(decided_nhw, classes, SIZES[-1])
        label_nhw = np.full(decided_nhw.shape, VOID, np.uint8)
        label_nhw[:, inside] = labels_nhw
        label_p = label_nhw.ravel()[place_p]
        known_p = label_p != VOID
        size_p = np.searchsorted(SIZES, area_p, side="right")  # the first size at which the object is removed
        shape = self._moved_cstk.shape
        cells = np.ravel_multi_index(
            tuple(each[known_p].astype(np.intp) for each in (decided_nhw.ravel()[place_p], size_p, label_p, around_p)),
            shape,
        )
        self._moved_cstk += np.bincount(cells, minlength=self._moved_cstk.size).reshape(shape)

    def best(self) -> NDArray[np.int64]:
        """Return the smallest object of each class with the largest mean IoU, class after class until none changes.

        A size is raised only if the mean IoU gains at least `BETTER`; of equal sizes the smallest one is taken.
        """
        gone_cstk = self._moved_cstk.cumsum(1)
        change_cstk = gone_cstk.copy()
        for c, change_stk in enumerate(change_cstk):
            change_stk[:, :, c] -= gone_cstk[c].sum(2)
        chosen_c, at_kk = np.zeros(len(change_cstk), np.intp), self.confusion_kk
        for _ in SIZES:
            before_c = chosen_c.copy()
            for c, change_stk in enumerate(change_cstk):
                rest_kk = at_kk - change_stk[chosen_c[c]]
                value_s = mean_iou(rest_kk + change_stk)
                place = int(np.nanargmax(value_s)) if not np.isnan(value_s).all() else 0
                if value_s[place] > value_s[chosen_c[c]] + BETTER:
                    chosen_c[c] = place
                at_kk = rest_kk + change_stk[chosen_c[c]]
            if (chosen_c == before_c).all():
                break
        return np.array(SIZES)[chosen_c]


def check_smallest(smallest: object) -> None:
    """Check what a user asks for: ``auto``, a number of pixels, or None.

    Raises:
        EnsError: something else.
    """
    fits = isinstance(smallest, int) and not isinstance(smallest, bool) and 2 <= smallest <= LARGEST
    if not (fits or smallest in (None, "auto")):
        raise EnsError(
            f"expected auto or a number of pixels from 2 to {LARGEST} as the smallest object, got {smallest}; leave it"
            " out to keep all objects"
        )

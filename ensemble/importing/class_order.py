"""Notice that another tool numbers the classes in another order, which scores alone do not say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ensemble.evaluation.confusion import mean_iou

GAIN = 0.2
"""Mean IoU that another order must gain before it is mentioned; networks that learned little stay below."""


def order_note(confusion_kk: NDArray[np.int64], classes: Sequence[str]) -> str:
    """Return a note if the predictions fit the masks far better with the classes in another order; else nothing.

    The order with the largest mean IoU is found exactly: it is the assignment of predicted to true classes with the
    largest sum of ``pixels of both / pixels of either``.

    Args:
        confusion_kk: pixels by true and predicted class.
        classes: names of the classes.

    Reference:
        Kuhn, The Hungarian Method for the Assignment Problem, 1955.

    >>> order_note(np.array([[1, 9], [8, 2]]), ["soil", "rock"])[:83]
    'in the order rock, soil the predictions have a mean IoU of 73.9 %, in place of 8.0 '
    >>> order_note(np.array([[9, 1], [2, 8]]), ["soil", "rock"])
    ''
    """
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415  (a third of a second that other imports do not need)

    both_kk = confusion_kk.astype(np.float64)
    either_kk = both_kk.sum(1, keepdims=True) + both_kk.sum(0, keepdims=True) - both_kk
    channel_k: NDArray[np.intp] = np.asarray(linear_sum_assignment(-both_kk / np.maximum(either_kk, 1))[1])
    before, after = (float(mean_iou(each_kk)) for each_kk in (confusion_kk, confusion_kk[:, channel_k]))
    if not after - before >= GAIN:
        return ""
    order = ", ".join(classes[k] for k in map(int, np.argsort(channel_k)))
    gain = f"a mean IoU of {100 * after:.1f} %, in place of {100 * before:.1f} %"
    return (
        f"in the order {order} the predictions have {gain}; if the tool numbers its classes so, reorder its channels"
        " and import them again"
    )

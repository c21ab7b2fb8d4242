"""The loss of a student: its own loss on labelled pixels, and the distance to its teachers on all pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ensemble.core.void import VOID
from ensemble.runs.store.codec import ZERO


def teacher_loss(logits_nchw: Tensor, codes_nhwk: Tensor) -> Tensor:
    r"""Return the mean over pixels of the Kullback-Leibler divergence from the teachers' probabilities.

    :math:`\sum_c t_c (\log t_c - \log p_c)`, with t of the teachers and p of the student, at a temperature of 1. Pixels
    that nobody labelled count, too; those outside of an image do not.

    Args:
        logits_nchw: outputs of the student; channels after the first k, such as a background, take no part.
        codes_nhwk: codes of the teachers' probabilities (n, h, w, k), see `ensemble.runs.store.decode`; 255 for none.

    Reference:
        Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015, section 2, with T = 1.

    >>> codes = torch.tensor([90, 90], dtype=torch.uint8).reshape(1, 1, 1, 2)
    >>> round(float(teacher_loss(torch.tensor([0.0, 1.0]).reshape(1, 2, 1, 1), codes)), 4)
    0.1201
    """
    known_nhw = codes_nhwk[..., 0] != VOID
    squares_nkhw = codes_nhwk.permute(0, 3, 1, 2).float().square().clamp_min(ZERO)
    teacher_nkhw = squares_nkhw / squares_nkhw.sum(1, keepdim=True)
    student_nkhw = torch.log_softmax(logits_nchw[:, : codes_nhwk.shape[-1]], dim=1)
    apart_nhw = (teacher_nkhw * (teacher_nkhw.log() - student_nkhw)).sum(1)
    return (apart_nhw * known_nhw).sum() / known_nhw.sum().clamp_min(1)


class TaughtLoss(nn.Module):
    r"""``a`` times the loss of the labels plus ``1 - a`` times the loss of the teachers.

    Args:
        loss: loss of logits (n, c, h, w) and labels (n, h, w).
        label_share: a.
    """

    def __init__(self, loss: nn.Module, label_share: float) -> None:
        super().__init__()
        self.loss = loss
        self.label_share = label_share

    def forward(self, logits_nchw: Tensor, targets_nhwk: Tensor) -> Tensor:
        """Return the scalar loss of logits and targets (n, h, w, 1 + k): labels, then the codes of `teacher_loss`."""
        taught = teacher_loss(logits_nchw, targets_nhwk[..., 1:])
        if not self.label_share:
            return taught
        labels = self.loss(logits_nchw, targets_nhwk[..., 0].long())
        return self.label_share * labels + (1 - self.label_share) * taught

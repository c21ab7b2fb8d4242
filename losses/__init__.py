"""Losses: one file per loss, a registry that finds them by name, and weighted sums of them."""

from __future__ import annotations

if __name__ == "losses":
    raise ImportError(
        "this folder is the sub-package ensemble.losses; write `import ensemble.losses` instead of `import losses`"
    )

# One line per loss: importing the file registers it.
from ensemble.losses import boundary as boundary
from ensemble.losses import cross_entropy as cross_entropy
from ensemble.losses import dice as dice
from ensemble.losses import focal as focal
from ensemble.losses import focal_tversky as focal_tversky
from ensemble.losses import generalized_dice as generalized_dice
from ensemble.losses import jaccard as jaccard
from ensemble.losses import log_cosh_dice as log_cosh_dice
from ensemble.losses import lovasz as lovasz
from ensemble.losses import ohem as ohem
from ensemble.losses import poly as poly
from ensemble.losses import tversky as tversky
from ensemble.losses import unified as unified
from ensemble.losses import weighted_cross_entropy as weighted_cross_entropy
from ensemble.losses.registry import LOSSES
from ensemble.losses.sums import build_loss, check_loss
from ensemble.losses.weights import class_weights

__all__ = ["LOSSES", "build_loss", "check_loss", "class_weights"]

"""Segmentation networks by name: ``ARCHITECTURES.create("unet", in_channels, classes, filters=24)``.

Every network maps images ``(n, in_channels, h, w)`` to logits ``(n, classes, h, w)`` for any ``h, w >= 1``.
To add one, write a file with a registered factory and import it here; README.md shows how.
"""

from __future__ import annotations

if __name__ == "architectures":
    # The folder at the top of the repository is a link target; imported bare it would register everything twice.
    raise ImportError(
        "this folder is the sub-package ensemble.architectures; write `import ensemble.architectures` "
        "instead of `import architectures`"
    )

# One line per architecture or family: importing the file registers it.
from ensemble.architectures import cascade as cascade
from ensemble.architectures import smp_family as smp_family
from ensemble.architectures import unet_family as unet_family
from ensemble.architectures.pretrained import check_encoder_weights
from ensemble.architectures.registry import ARCHITECTURES
from ensemble.architectures.smp import known_encoders
from ensemble.architectures.weights_file import is_weights_file, read_tensors

__all__ = ["ARCHITECTURES", "check_encoder_weights", "is_weights_file", "known_encoders", "read_tensors"]

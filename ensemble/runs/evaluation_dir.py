"""An evaluation on disk: what a member or an ensemble scored on labelled images that it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ensemble.config import Background
from ensemble.core.errors import EnsError
from ensemble.core.files import digest
from ensemble.core.locks import whole_folder
from ensemble.core.settings import Settings, load_settings
from ensemble.runs.layout import CHECKED, CONFIG, evaluations_folder
from ensemble.runs.status import check_files, finish_run, read_config, read_status, write_config

EvaluatedPart = Literal["test", "validation", "vault"]


class EvaluationSettings(Settings):
    """What was evaluated, and on which images.

    Attributes:
        model: name of the member or ensemble.
        model_digest: digest of all that decides its predictions.
        part: ``validation`` for the images held out of its training, ``vault`` for those set aside, else ``test``.
        data: name of the data.
        data_hash: digest of the data.
        images_hash: digest of the ids of the scored images; evaluations that share it can be compared.
        background: meaning of class 0 of the data.
        classes: names of the classes.
        values: id of each class in the masks.
        decision: how classes were decided; empty if an earlier version, which did not know, wrote it.
        tta: test-time augmentation of every member, if another one than its own was asked for; else empty.
    """

    model: str
    model_digest: str
    part: EvaluatedPart
    data: str
    data_hash: str
    images_hash: str
    background: Background
    classes: tuple[str, ...]
    values: tuple[int, ...]
    decision: str = ""
    tta: str = ""

    def directory_name(self) -> str:
        """Return ``<part>-<model>-<hash6>``: a function of model, data and images."""
        return f"{self.part}-{self.model}-{digest(self.model_digest, self.data_hash, self.images_hash)[:6]}"


def write_evaluation(
    runs: Path,
    settings: EvaluationSettings,
    scores: Mapping[str, Any],
    tables: Mapping[str, NDArray[Any]],
    ids: Sequence[str],
    groups: Sequence[str],
    **more: Any,
) -> Path:
    """Write an evaluation, whole or not at all, and return its directory; the same evaluation is replaced.

    Args:
        runs: folder of runs.
        settings: what was evaluated.
        scores: the scores.
        tables: arrays with a row per image.
        ids: the images.
        groups: group of each image.
        more: further entries of the status, such as the time it took.
    """
    path = evaluations_folder(runs) / settings.directory_name()
    with whole_folder(path) as unfinished:
        content = {"settings": settings.model_dump(mode="json"), "ids": list(ids), "groups": list(groups)}
        write_config(unfinished, "evaluation", content, path.name)
        finish_run(unfinished, "evaluation", scores, dict(tables), **more)
    return path


def read_evaluation(path: Path) -> tuple[EvaluationSettings, tuple[str, ...], tuple[str, ...]]:
    """Return the settings of an evaluation, and id and group of each of its images.

    Raises:
        EnsError: the directory is no evaluation, or damaged.
    """
    status = read_status(path)
    if status.get("kind") != "evaluation":
        raise EnsError(f"expected an evaluation, got the {status.get('kind')} {path}; give one of `ens evaluate`")
    config = read_config(path, status)
    check_files(path, status, CHECKED["evaluation"])
    settings = load_settings(EvaluationSettings, config.get("settings"), path / CONFIG)
    ids, groups = (tuple(map(str, config.get(name, ()))) for name in ("ids", "groups"))
    if len(ids) != len(groups):
        raise EnsError(f"{path / CONFIG} is damaged (ids and groups differ in number); evaluate it again")
    return settings, ids, groups


def images_hash(part: str, ids: Sequence[str]) -> str:
    """Return the digest of the images of an evaluation."""
    return digest(part, *np.asarray(ids, dtype=str).tolist())

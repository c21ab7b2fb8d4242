"""Names of all files and folders of a run: the only module in which they are written out.

A folder of runs holds ``members/<name>/`` and ``ensembles/<name>/``. A directory is a run from the moment it has a
``status.json``, and it is finished when that file has the state ``complete``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Kind = Literal["member", "ensemble"]
State = Literal["training", "interrupted", "failed", "complete"]

FORMAT_VERSION = 1
"""Version of the run directories that this version writes; version 0.1 of the toolkit wrote 1, too."""

STATUS = "status.json"
CONFIG = "config.json"
SCORES = "scores.json"
CONFUSIONS = "confusions.npz"
HISTORY = "history.csv"
ENVIRONMENT = "environment.json"
EXAMPLES = "examples.png"
LOG = "log.txt"
STORES = "probabilities"

WEIGHTS = "weights-f*.safetensors"
CHECKPOINTS = "checkpoint-f*.pt"
FOLD_HISTORIES = "history-f*.json"

CHECKED: dict[str, tuple[str, ...]] = {
    "member": (CONFIG, SCORES, CONFUSIONS, HISTORY),
    "ensemble": (CONFIG, SCORES, CONFUSIONS),
}
"""Files whose digests the status of a finished run records, by kind; those of a member's weights are added."""


def weights_name(fold: int) -> str:
    """Return the file name of the weights of a fold."""
    return WEIGHTS.replace("*", str(fold))


def checkpoint_name(fold: int) -> str:
    """Return the file name of the checkpoint of a fold that is being trained."""
    return CHECKPOINTS.replace("*", str(fold))


def fold_history_name(fold: int) -> str:
    """Return the file name of the history of a fold, which is deleted when the member is finished."""
    return FOLD_HISTORIES.replace("*", str(fold))


def members_folder(runs: Path) -> Path:
    """Return the folder of the members in a folder of runs."""
    return runs / "members"


def ensembles_folder(runs: Path) -> Path:
    """Return the folder of the ensembles in a folder of runs."""
    return runs / "ensembles"


def sibling_member(run: Path, name: str) -> Path:
    """Return the directory of a member that lies in the same folder of runs as the directory ``run``."""
    return members_folder(run.parent.parent) / name


def store_folder(member: Path, split: str) -> Path:
    """Return the folder of a member's stored probabilities of ``validation`` or ``test``."""
    return member / STORES / split


def is_run(path: Path) -> bool:
    """Return whether a directory is a member or an ensemble, finished or not."""
    return (path / STATUS).is_file()

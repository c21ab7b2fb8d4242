"""Names of all files and folders of a run: the only module in which they are written out.

A folder of runs holds ``members/<name>/``, ``ensembles/<name>/``, ``evaluations/<name>/``, ``studies/`` and ``looks/``.
The first file that training writes is ``status.json``; a run is finished when that file has the state ``complete``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ensemble.core.errors import EnsError
from ensemble.core.reading import is_folder

Kind = Literal["member", "ensemble", "evaluation"]
State = Literal["training", "interrupted", "failed", "complete"]

FORMAT_VERSION = 2
"""Version of the run directories that this version writes."""
OLD_FORMAT = 1
"""Version that 0.1 and 0.2 of the toolkit wrote, which is still read: no digests tie its status, stores and environment
to the run."""

STATUS = "status.json"
CONFIG = "config.json"
SCORES = "scores.json"
CONFUSIONS = "confusions.npz"
HISTORY = "history.csv"
ENVIRONMENT = "environment.json"
EXAMPLES = "examples.png"
LOG = "log.txt"
STORES = "probabilities"
MANIFEST = "manifest.json"
SPLITS = ("validation", "test")

WEIGHTS = "weights-f*.safetensors"
CHECKPOINTS = "checkpoint-f*.pt"
FOLD_HISTORIES = "history-f*.json"
TEACHERS = "teachers"
TARGETS = "targets"

REFIT_ENDING = "-refit"
"""What the name of a refit adds to that of its twin."""

BUNDLE_SUFFIX = ".ens"
BUNDLE_MANIFEST = "bundle.json"
CARD = "card.md"
EVIDENCE = "evidence.safetensors"

CHECKED: dict[str, tuple[str, ...]] = {
    "member": (CONFIG, SCORES, CONFUSIONS, HISTORY),
    "ensemble": (CONFIG, SCORES, CONFUSIONS),
    "evaluation": (CONFIG, SCORES, CONFUSIONS),
}
"""Files whose digests the status of a finished run records, by kind; those of a member's weights are added."""
BUNDLED = (CONFIG, SCORES)
"""Those of them that a bundle keeps."""


def weights_name(fold: int) -> str:
    """Return the file name of the weights of a fold."""
    return WEIGHTS.replace("*", str(fold))


def checkpoint_name(fold: int) -> str:
    """Return the file name of the checkpoint of a fold that is being trained."""
    return CHECKPOINTS.replace("*", str(fold))


def fold_history_name(fold: int) -> str:
    """Return the file name of the history of a fold, which is deleted when the member is finished."""
    return FOLD_HISTORIES.replace("*", str(fold))


def manifest_name(split: str) -> str:
    """Return the file name, relative to the member, of the manifest of the stored probabilities of a split."""
    return f"{STORES}/{split}/{MANIFEST}"


def teacher_folder(member: Path, key: str) -> Path:
    """Return the folder of what a member predicts without having seen some images, named by a digest of their ids."""
    return member / TEACHERS / key


def targets_folder(member: Path, fold: int) -> Path:
    """Return the folder of what the network of a fold of a student is taught; it is deleted when that is finished."""
    return member / TARGETS / f"f{fold}"


def is_name(text: str) -> bool:
    """Return whether a text can be the name of a run: one part of a path that is not hidden.

    >>> [is_name(text) for text in ("unet-ce-s0-7ca07c", ".unet.tmp", "..", "", "../secret", "C:run", "a/b")]
    [True, False, False, False, False, False, False]
    """
    return bool(text) and not text.startswith(".") and not any(sign in text for sign in "/\\:\0")


def members_folder(runs: Path) -> Path:
    """Return the folder of the members in a folder of runs."""
    return runs / "members"


def ensembles_folder(runs: Path) -> Path:
    """Return the folder of the ensembles in a folder of runs."""
    return runs / "ensembles"


def evaluations_folder(runs: Path) -> Path:
    """Return the folder of the evaluations in a folder of runs."""
    return runs / "evaluations"


def studies_folder(runs: Path) -> Path:
    """Return the folder of the tables and reports of studies, in a folder of runs."""
    return runs / "studies"


def looks_folder(runs: Path) -> Path:
    """Return the folder of the looks at images, in a folder of runs; see `ensemble.runs.looks`."""
    return runs / "looks"


def sibling_member(run: Path, name: str) -> Path:
    """Return the directory of a member that lies in the same folder of runs as the directory ``run``.

    Raises:
        EnsError: the name is no name but a path, such as a received ensemble could hold.
    """
    if not is_name(name):
        raise EnsError(f"the ensemble {run} names the member {name!r}, which is no name of a member; combine again")
    return members_folder(run.parent.parent) / name


def store_folder(member: Path, split: str) -> Path:
    """Return the folder of a member's stored probabilities of ``validation`` or ``test``."""
    return member / STORES / split


def is_run(path: Path) -> bool:
    """Return whether a directory is a member or an ensemble: finished, unfinished, or damaged.

    A folder that somebody put there and an empty folder are none. A directory with other files of a run is one, even if
    its ``status.json`` is lost.
    """
    return is_folder(path) and any((path / name).exists() for name in (STATUS, CONFIG, SCORES, CONFUSIONS, STORES))

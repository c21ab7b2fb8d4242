"""Looks: which variants have been judged on a split so far, and who opened a vault; nothing here is ever deleted.

A look is a small file in ``looks/<images>/`` of the folder of runs, named by what was looked at. So the number of looks
is the number of files, two processes at once need no lock, and the same look twice counts once. ``ens remove`` of a
member or an ensemble leaves it: what has been seen stays seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from ensemble.config import PoolSettings
from ensemble.core.errors import EnsError
from ensemble.core.files import digest, write_json
from ensemble.core.formatting import counted
from ensemble.core.reading import is_folder
from ensemble.runs.layout import looks_folder


def record_variants(runs: Path, variants: Sequence[PoolSettings]) -> int:
    """Record variants of ensembles that are judged on one split, and return the number judged on it so far.

    Variants are the same if all their settings are: members, method with options, calibration, decision, folds, seed.

    Args:
        runs: folder for runs.
        variants: what is judged; all on the same data and split.

    Raises:
        EnsError: the record cannot be written.
    """
    folder = _of_split(runs, variants[0])
    for variant in variants:
        file = folder / f"{variant.content_hash()[:16]}.json"
        if not file.exists():
            content = variant.model_dump(mode="json", exclude={"data_hash", "split_hash"})
            write_json(file, {"looked": now(), **content})
    return len(files(folder))


def looks_sentence(count: int, here: int = 1) -> str:
    """Return how many variants have been judged so far, and for which of them an interval accounts.

    >>> looks_sentence(12)
    '12 variants so far judged on these validation images; the intervals account for this one only'
    >>> looks_sentence(30, 24)
    '30 variants so far judged on these validation images; the intervals account for the 24 of this table only'
    >>> looks_sentence(1)
    '1 variant so far judged on these validation images: this one'
    """
    head = f"{counted(count, 'variant')} so far judged on these validation images"
    if count <= here:
        return f"{head}: {'this one' if here == 1 else 'those of this table'}"
    return f"{head}; the intervals account for {'this one' if here == 1 else f'the {here} of this table'} only"


def with_looks(advice: str, ensemble: Path, settings: PoolSettings) -> str:
    """Return the advice on an ensemble, and how many variants have been judged on its images so far, if any is known.

    Args:
        advice: sentences.
        ensemble: directory of the ensemble.
        settings: its settings.
    """
    count = len(files(_of_split(ensemble.parent.parent, settings)))
    return f"{advice} {looks_sentence(count)}." if count else advice


def files(folder: Path) -> list[Path]:
    """Return the files of the looks in a folder; names that begin with a dot are being written.

    Raises:
        EnsError: the folder cannot be read.
    """
    if not is_folder(folder):
        return []
    try:
        return sorted(file for file in folder.iterdir() if file.suffix == ".json" and file.name[0] != ".")
    except OSError as error:
        raise EnsError(f"{folder} cannot be read ({error.strerror}); allow it, or choose another folder") from None


def now() -> str:
    """Return the time as text, in UTC and whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _of_split(runs: Path, settings: PoolSettings) -> Path:
    return looks_folder(runs) / f"split-{digest(settings.data_hash, settings.split_hash)[:12]}"

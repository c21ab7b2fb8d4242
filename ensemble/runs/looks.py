"""Looks: which variants have been judged on a split so far, and who opened a vault; nothing here is ever deleted.

A look is a small file in ``looks/<images>/`` of the folder of runs, named by what was looked at. So the number of looks
is the number of files, two processes at once need no lock, and the same look twice counts once. ``ens remove`` of a
member or an ensemble leaves it: what has been seen stays seen. Each file holds a checksum of itself; nothing can notice
that one was deleted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from ensemble.config import PoolSettings
from ensemble.core.errors import EnsError
from ensemble.core.files import digest, is_sealed, read_object, sealed, write_json
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
            write_json(file, sealed({"looked": now(), **content}))
    return len(files(folder))


@dataclass(frozen=True)
class VaultLook:
    """Who looked at a vault, and when: the name of the model, its digest, and the time in UTC."""

    model: str
    model_digest: str
    looked: str


def open_vault(runs: Path, data_hash: str, model: str, model_digest: str) -> tuple[VaultLook, ...]:
    """Record that a model is scored on the vault of a data set; return all looks so far, this one last.

    Every look counts, the same model again as well. The record is written before the others are read, so of two
    processes at once at least one sees the other.

    Args:
        runs: folder for runs.
        data_hash: digest of the data set; all vaults of one data set are one, because their images overlap.
        model: name of the member or ensemble.
        model_digest: digest of all that decides its predictions.

    Raises:
        EnsError: the record cannot be written, or one of the others is damaged.
    """
    folder, own = looks_folder(runs) / f"vault-{data_hash[:12]}", VaultLook(model, model_digest, now())
    file = folder / f"{uuid4().hex[:16]}.json"
    write_json(file, sealed(asdict(own)))
    others = [_read_look(each) for each in files(folder) if each != file]
    return (*sorted(others, key=lambda look: look.looked), own)


def vault_sentence(looks: Sequence[VaultLook]) -> str:
    """Return whether the last look at a vault is the first one, and else which came before.

    >>> first = VaultLook("unet-ce", "1", "2026-11-29T10:00:00.000+00:00")
    >>> vault_sentence([first])
    'the vault is opened for the first time; the next score on it will not be a first look'
    >>> vault_sentence([first, VaultLook("pan-ce", "2", "2026-11-30T10:00:00.000+00:00")])
    'not the first look at the vault, though the first of pan-ce; before: unet-ce (2026-11-29 10:00:00 UTC)'
    >>> vault_sentence([first, first])
    'not the first look at the vault, nor the first of unet-ce; before: unet-ce (2026-11-29 10:00:00 UTC)'

    A model that decides differently, or averages other views, predicts differently:

    >>> vault_sentence([first, VaultLook("unet-ce", "2", "2026-11-30T10:00:00.000+00:00")]).split(";")[0]
    'not the first look at the vault, nor the first of unet-ce, though it predicted differently before'
    """
    *before, own = looks
    if not before:
        return "the vault is opened for the first time; the next score on it will not be a first look"
    again = any(look.model_digest == own.model_digest for look in before)
    known = again or any(look.model == own.model for look in before)
    shown = ", ".join(f"{look.model} ({look.looked[:10]} {look.looked[11:19]} UTC)" for look in before)
    rank = f"nor the first of {own.model}" if known else f"though the first of {own.model}"
    rank += ", though it predicted differently before" if known and not again else ""
    return f"not the first look at the vault, {rank}; before: {shown}"


def _read_look(file: Path) -> VaultLook:
    content = _read(file)
    return VaultLook(*(str(content.get(name, "unknown")) for name in ("model", "model_digest", "looked")))


def check_looks(runs: Path) -> Iterator[EnsError | None]:
    """Yield for every look in a folder of runs None, or the error that its damage is.

    Raises:
        EnsError: a folder cannot be read.
    """
    for folder in _entries(looks_folder(runs)):
        for file in files(folder):
            try:
                _read(file)
            except EnsError as error:
                yield error
            else:
                yield None


def _read(file: Path) -> dict[str, Any]:
    """Return the content of a look that is as it was written."""
    try:
        content = read_object(file)
    except EnsError:
        content = {}
    if not is_sealed(content):
        raise EnsError(
            f"{file} differs from what was written (damaged or edited), but the look still counts; put a copy of it"
            " back, or delete it and say so with the scores"
        )
    return content


def looks_sentence(count: int, here: int = 1) -> str:
    """Return how many variants have been judged so far, and for which of them an interval accounts.

    >>> looks_sentence(12).partition("; ")[2]
    'the intervals account for this one only, so the best of all looks better than it is'
    >>> looks_sentence(30, 24).partition("; ")[2]
    'the intervals account for the 24 of this table only, so the best of all looks better than it is'
    >>> looks_sentence(1)
    '1 variant so far judged on these validation images: this one'
    """
    head = f"{counted(count, 'variant')} so far judged on these validation images"
    if count <= here:
        return f"{head}: {'this one' if here == 1 else 'those of this table'}"
    these = "this one" if here == 1 else f"the {here} of this table"
    return f"{head}; the intervals account for {these} only, so the best of all looks better than it is"


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
    return [file for file in _entries(folder) if file.suffix == ".json" and file.name[0] != "."]


def _entries(folder: Path) -> list[Path]:
    if not is_folder(folder):
        return []
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise EnsError(f"{folder} cannot be read ({error.strerror}); allow it, or choose another folder") from None


def now() -> str:
    """Return the time as text, in UTC; looks are ordered by it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _of_split(runs: Path, settings: PoolSettings) -> Path:
    return looks_folder(runs) / f"split-{digest(settings.data_hash, settings.split_hash)[:12]}"

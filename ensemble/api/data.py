"""Data as the commands take them, and the check for images that should not be trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ensemble.config import DataSettings, parse_size
from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.progress import Tick, silent

if TYPE_CHECKING:
    from ensemble.data import Dataset
    from ensemble.data.cleaning.checks import Suspect
    from ensemble.runs.member import Member

BACKGROUNDS = ("void", "class", "zero-weight")


def data_settings(
    data: str | Path,
    *,
    background: str | None = None,
    image_size: str | tuple[int, int] | None = None,
    val_fraction: float = 0.2,
    folds: int | None = None,
    split_seed: int = 0,
) -> DataSettings:
    """Checked settings of a data set and its split.

    Raises:
        EnsError: one fold, a share outside 0..1, an unknown background or a size that is none.
    """
    if background is not None and background not in BACKGROUNDS:
        raise UnknownName("background", background, BACKGROUNDS)
    if folds is not None and folds < 2:
        raise EnsError(f"expected at least 2 folds, got {folds}; leave --folds out for a hold-out of --val-fraction")
    if not 0 < val_fraction < 1:
        raise EnsError(f"expected a validation share between 0 and 1, got {val_fraction:g}; try 0.2")
    return DataSettings(
        source=str(data),
        background=background,
        image_size=parse_size(image_size) if isinstance(image_size, str) else image_size,
        val_fraction=val_fraction,
        folds=folds,
        split_seed=split_seed,
    )


@dataclass(frozen=True)
class DataCheck:
    """What ``check_data`` found, where it is written, and the members that masks were held against."""

    dataset: Dataset
    suspects: list[Suspect]
    members: list[Member]
    table: Path
    picture: Path


def check_data(
    data: DataSettings | str | Path = "sample",
    *,
    out: str | Path = ".",
    members: Sequence[str | Path] | None = None,
    runs: str | Path = "runs",
    tick: Tick = silent,
) -> DataCheck:
    """Look for images that should not be trained on, and write ``suspects.csv`` and ``suspects.png`` into ``out``.

    Args:
        data: settings, an npz file, a folder, or ``sample``.
        out: folder for the list and the contact sheet.
        members: members whose predictions the masks are held against; all of these data in ``runs`` where None.
        runs: folder for runs.
        tick: told the progress.

    Raises:
        EnsError: data that cannot be read, members of other data, or an unwritable folder.
    """
    from ensemble.data import open_dataset  # noqa: PLC0415
    from ensemble.data.cleaning.checks import check_data as look  # noqa: PLC0415
    from ensemble.data.cleaning.label_errors import contradicted_masks  # noqa: PLC0415
    from ensemble.report.suspects import draw_suspects, write_suspects  # noqa: PLC0415
    from ensemble.runs.select import newest_members, open_members  # noqa: PLC0415

    dataset = open_dataset(data if isinstance(data, DataSettings) else data_settings(data))
    chosen = open_members(Path(runs), members) if members else newest_members(Path(runs), dataset.data_hash)
    suspects = look(dataset, tick)
    if chosen:
        suspects += contradicted_masks(dataset, chosen, tick)
    done = DataCheck(dataset, suspects, chosen, Path(out) / "suspects.csv", Path(out) / "suspects.png")
    write_suspects(suspects, done.table)
    draw_suspects(dataset, suspects, done.picture)
    return done

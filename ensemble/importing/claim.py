"""What a user says about the images that a network was trained on, and what of it the data can contradict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ensemble.core.errors import EnsError
from ensemble.core.files import file_digest
from ensemble.core.formatting import counted
from ensemble.core.texts import read_table
from ensemble.data import Dataset, Split

CLAIMED = ", claimed"  # end of a protocol
NO_IMAGE = "none"


@dataclass(frozen=True)
class Claim:
    """What a user says about the training of a network.

    Attributes:
        text: the claim, for people.
        digest: digest of the table of training images; "" if none was given.
        note: a sentence about images that resemble those of the training; "" if there are none.
    """

    text: str
    digest: str = ""
    note: str = ""


def check_claim(networks: int, trained_on: str | None, dataset: Dataset, groups: Sequence[str], split: Split) -> Claim:
    """Return the claim under which the score of networks is honest, unless the data contradict it.

    A score is honest if no network predicts an image that it was trained on. Nobody can see that in its weights, so it
    is what the user says: by default that the validation images of a hold-out were held out there, too. Networks of
    cross-validation come one per fold. A single network that has seen all images has no out-of-fold predictions.

    Args:
        networks: number of networks; several stand for the folds, in their order.
        trained_on: a CSV with the column ``id`` of its training images, ``none`` if it saw no image of these data, or
            None for the default.
        dataset: the data.
        groups: group of each image.
        split: the split.

    Raises:
        EnsError: a number of networks that does not fit the split, one network for folds of which it may have seen all
            images, or training images among the validation images.
    """
    folds = len(split.validation)
    if networks > 1 and networks != folds:
        parts = f"{folds} folds" if folds > 1 else "a hold-out, which takes one"
        raise EnsError(
            f"expected a file of weights for each fold, got {networks} for {parts}; give one file per fold, in their"
            " order, or choose the split that the networks were trained with (folds, split or like)"
        )
    if networks > 1:
        if trained_on is not None:
            raise EnsError(f"trained_on {trained_on} describes one network, but {networks} files were given; drop it")
        return Claim("each network was trained on no image of its fold")
    if trained_on is None and folds > 1:
        raise EnsError(
            f"one network has no out-of-fold predictions of {folds} folds if it was trained on these images; give a"
            f" file per fold, or trained_on {NO_IMAGE} if it saw none of them, or choose a hold-out"
        )
    if trained_on is None:
        return Claim("no validation image was in its training")
    if trained_on == NO_IMAGE:
        return Claim("no image of these data was in its training")
    return _of_table(Path(trained_on), dataset, groups, split)


def _of_table(table: Path, dataset: Dataset, groups: Sequence[str], split: Split) -> Claim:
    read = read_table(table, ("id",), f"give a CSV with the column id, or trained_on {NO_IMAGE}")
    if "id" not in read.columns:
        raise EnsError(f"expected the column 'id' in {table}, got {', '.join(read.columns)}; rename the column")
    given = {row.get("id", "") for row in read.rows}
    seen_n = np.array([name in given for name in dataset.ids], bool)
    if not seen_n.any():
        raise EnsError(
            f"none of the {counted(len(given), 'id')} in {table} is that of an image of {dataset.name}, such as"
            f" '{dataset.ids[0]}'; check the ids, or give trained_on {NO_IMAGE} if it saw no image of these data"
        )
    scored = split.scored
    wrong = np.concatenate([rows[seen_n[rows]] for rows in (scored, split.vault)])
    if len(wrong):
        what = f"the {len(scored)} validation images" + f" and {len(split.vault)} of the vault" * bool(len(split.vault))
        raise EnsError(
            f"{len(wrong)} of {what}, such as '{dataset.ids[int(wrong[0])]}', were in the"
            f" training of this network ({table}), so its score on them would be too high; choose a split that holds"
            " out images which it did not see (split FILE)"
        )
    learned, judged = ({groups[int(row)] for row in rows} for rows in (np.flatnonzero(seen_n), scored))
    alike = sorted(learned & judged)
    note = ""
    if alike:
        note = (
            f"validation images of {counted(len(alike), 'group')}, such as {alike[0]}, resemble images of its training;"
            " the score may be too high"
        )
    images = counted(int(seen_n.sum()), "image")
    text = f"it was trained on {images} of these data ({table.name}), on no validation image"
    return Claim(text, file_digest(table), note)

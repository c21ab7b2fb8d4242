"""Split images into folds: no group is divided, every fold has the rarest class, the same data give the same split."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ensemble.config import DataSettings
from ensemble.core.cache import Cache
from ensemble.core.errors import EnsError
from ensemble.core.files import digest
from ensemble.data.dataset import Dataset
from ensemble.data.formats.tables import VAL, VAULT, read_split
from ensemble.data.rarest import rarest_class_per_image

TRIES = 50
FOLDS_VERSION = 1  # of the folds in the cache; a change of how they are found needs another
NO_SPLIT = "none"
VAULT_SEED = 7919  # with the seed of the split itself, the vault would be what an earlier split of the data held out


@dataclass(frozen=True)
class Split:
    """Validation rows of each fold (a hold-out has one fold), and the hash that identifies them.

    The rows of the vault are set aside: no network learns from them, and no score but that of the vault shows them.
    """

    validation: tuple[NDArray[np.int64], ...]
    total: int
    split_hash: str
    vault: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def training(self, fold: int) -> NDArray[np.int64]:
        """Return the rows that the network of this fold may learn from."""
        return np.setdiff1d(np.arange(self.total), np.concatenate([self.validation[fold], self.vault]))

    @property
    def scored(self) -> NDArray[np.int64]:
        """Rows that some fold predicts without having seen them, in ascending order."""
        return np.sort(np.concatenate(self.validation))

    def without(self, rows: NDArray[np.int64], ids: Sequence[str]) -> Split:
        """Return the split whose score leaves ``rows`` out; its hash differs, because other images are scored.

        Raises:
            EnsError: when a fold would have no image left to score.
        """
        kept = tuple(np.setdiff1d(part, rows) for part in self.validation)
        for fold, part in enumerate(kept):
            if not len(part):
                raise EnsError(
                    f"all validation images of fold {fold + 1} are excluded from the score; use fewer folds or reasons"
                )
        return replace(self, validation=kept, split_hash=_hash(kept, ids, self.vault))


def split_dataset(dataset: Dataset, groups: Sequence[str], settings: DataSettings) -> Split:
    """Return the split of a data set: the one of ``settings.split``, the official one, or a new one.

    Raises:
        EnsError: the file of the split does not fit the data, folds are asked for but the split has other parts, or a
            new split cannot be made.
    """
    parts = given_split(dataset, settings)
    if parts is None:
        return split_data(dataset.ids, groups, dataset.foreground_nk, settings)
    names = np.asarray(parts)
    folds = [VAL] if VAL in parts else sorted(set(parts) - {VAULT}, key=_fold_order)
    if settings.folds not in (None, len(folds) if len(folds) > 1 else None):
        raise EnsError(
            f"the data come with a split ({'train and val' if VAL in parts else f'{len(folds)} folds'}), so folds"
            f" {settings.folds} cannot be made; leave folds out, or give split {NO_SPLIT} to make a new split"
        )
    validation = tuple(np.flatnonzero(names == fold) for fold in folds)
    vault = np.flatnonzero(names == VAULT)
    return Split(validation, len(dataset.ids), _hash(validation, dataset.ids, vault), vault)


def given_split(dataset: Dataset, settings: DataSettings) -> tuple[str, ...] | None:
    """Return the part or fold of each image: from ``settings.split``, else as it came with the data, else None.

    Raises:
        EnsError: the file of the split does not fit the data.
    """
    if settings.split == NO_SPLIT:
        return None
    if settings.split is not None:
        return read_split(Path(settings.split), dataset.ids)
    return dataset.parts


def cut_groups(split: Split, groups: Sequence[str]) -> list[str]:
    """Return the groups that have images on both sides of a fold, which only a given split can do."""
    names = np.asarray(groups)
    cut = [np.intersect1d(names[split.training(fold)], names[rows]) for fold, rows in enumerate(split.validation)]
    return sorted({str(name) for part in cut for name in part})


def cut_by_vault(split: Split, groups: Sequence[str]) -> list[str]:
    """Return the groups that have images in the vault and outside of it, which only a given split can do."""
    names, outside = np.asarray(groups), np.setdiff1d(np.arange(split.total), split.vault)
    return np.intersect1d(names[split.vault], names[outside]).tolist()


def choose_vault(groups: Sequence[str], counts_nk: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """Return the rows of a vault that holds a share of the groups, stratified as a hold-out is.

    Raises:
        EnsError: a share that is not between 0 and 1, or fewer than three groups.
    """
    if not 0 < share < 1:
        raise EnsError(f"expected a share between 0 and 1 as vault, got {share:g}; give for example 0.2")
    if len(set(groups)) < 3:
        raise EnsError(
            f"expected at least 3 groups of images for training, validation and a vault, got {len(set(groups))}; add"
            " images of other scenes, or leave out the vault"
        )
    return _held_out(groups, counts_nk, share, seed + VAULT_SEED)


def _fold_order(name: str) -> tuple[int, int, str]:
    return (0, int(name), name) if name.isdecimal() else (1, 0, name)


def split_data(
    ids: Sequence[str], groups: Sequence[str], counts_nk: NDArray[np.int64], settings: DataSettings
) -> Split:
    """Split images into K folds, or split off a hold-out of ``val_fraction``.

    The split is stratified by the rarest class that an image holds, so each fold gets its share of the rare classes.
    ``counts_nk`` are the pixels per image and class (see ``Dataset.foreground_nk``).

    Raises:
        EnsError: when there are fewer groups than folds.
    """
    if len(ids) == 1:
        raise EnsError("one image cannot be split into training and validation; add images")
    if len(set(groups)) == 1:
        raise EnsError(
            f"all {len(ids)} images are in one group (given with the data, or because they look alike), so none can be"
            " held out; check the groups and the images"
        )
    if settings.folds is not None:
        folds = group_folds(groups, rarest_class_per_image(counts_nk), settings.folds, settings.split_seed, counts_nk)
        validation = tuple(np.flatnonzero(folds == fold) for fold in range(settings.folds))
    else:
        validation = (_held_out(groups, counts_nk, settings.val_fraction, settings.split_seed),)
    return Split(validation, len(ids), _hash(validation, ids))


def _held_out(groups: Sequence[str], counts_nk: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.int64]:
    """Return the rows of about a fraction of the groups."""
    share = Fraction(fraction).limit_denominator(20)
    if share in (0, 1):  # the fraction is closer to 0 or 1 than 1/20 is
        share = Fraction(1, min(50, round(1 / min(fraction, 1 - fraction))))
    parts = max(2, min(share.denominator, len(set(groups))))
    held = min(parts - 1, max(1, round(fraction * parts)))
    folds = group_folds(groups, rarest_class_per_image(counts_nk), parts, seed, counts_nk)
    return np.flatnonzero(folds < held)


def _hash(validation: Sequence[NDArray[np.int64]], ids: Sequence[str], vault: NDArray[np.int64] | None = None) -> str:
    sets = [*validation] if vault is None or not len(vault) else [*validation, vault]
    return digest(*("\n".join(ids[int(row)] for row in rows) for rows in sets))


def check_classes(split: Split, counts_nk: NDArray[np.int64], classes: Sequence[str]) -> None:
    """Raise an error if the training part of a fold lacks a class."""
    for fold in range(len(split.validation)):
        missing: list[int] = np.flatnonzero(counts_nk[split.training(fold)].sum(0) == 0).tolist()
        if missing:
            advice = "use fewer folds, another val_fraction, or more images of it"
            if not counts_nk[:, missing[0]].any():
                advice = "no image that is used has one, so leave out the class (ids from 1 on: set background to void)"
            part = f"the training part of fold {fold + 1}" if len(split.validation) > 1 else "the training images"
            raise EnsError(f"the class '{classes[missing[0]]}' has no labelled pixel in {part}; {advice}")


def group_folds(
    groups: Sequence[str], strata_n: NDArray[np.int64], folds: int, seed: int, counts_nk: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the fold of each image.

    Groups stay whole, strata are balanced, and every fold gets every class that enough groups hold. The folds are
    remembered: to find them, scikit-learn is imported, which takes a second.

    Raises:
        EnsError: when there are fewer groups than folds.
    """
    names = np.asarray(groups)
    total = len(np.unique(names))
    if total < folds:
        raise EnsError(
            f"expected at least {folds} groups for {folds} folds, got {total} (images of a group stay together);"
            " use fewer folds or a larger val_fraction"
        )
    arrays = strata_n.astype("<i8").tobytes(), counts_nk.astype("<i8").tobytes()
    about = digest("\n".join(groups), *arrays, str(folds), str(seed), version("scikit-learn"))
    cache = Cache("folds", FOLDS_VERSION, about)
    content = cache.read()
    if content is None or len(content) != 4 * len(names):
        content = _search_folds(names, strata_n, folds, seed, counts_nk).astype("<i4").tobytes()
        cache.write(content)
    return np.frombuffer(content, "<i4").astype(np.int64)


def _search_folds(
    names: NDArray[np.str_], strata_n: NDArray[np.int64], folds: int, seed: int, counts_nk: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the folds of the first seed in which none lacks a class that enough groups hold, or of the best seed."""
    wanted = np.array([len(np.unique(names[counts > 0])) >= folds for counts in counts_nk.T], dtype=bool)
    best, best_missing = np.zeros(len(names), np.int64), np.inf
    for attempt in range(TRIES):
        assigned = _assign(names, strata_n, folds, seed + attempt * 1_000_003)
        missing = sum(int((counts_nk[assigned == fold][:, wanted].sum(0) == 0).sum()) for fold in range(folds))
        empty = folds - len(np.unique(assigned))
        if missing + empty * 1000 < best_missing:
            best, best_missing = assigned, missing + empty * 1000
        if best_missing == 0:
            break
    return best


_ONE_AT_A_TIME = threading.Lock()  # filters of warnings are shared by all threads


def _assign(names: NDArray[np.str_], strata_n: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    from sklearn.model_selection import StratifiedGroupKFold  # noqa: PLC0415  (a second that few commands need)

    assigned = np.zeros(len(names), np.int64)
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed % 2**32)
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        # If every stratum is smaller than the number of folds, scikit-learn fails; then only the groups decide.
        strata = strata_n if np.bincount(strata_n).max() >= folds else np.zeros_like(strata_n)
        for fold, (_, rows) in enumerate(splitter.split(np.zeros(len(names)), strata, names)):
            assigned[rows] = fold
    return assigned

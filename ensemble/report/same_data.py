"""Open the data of a run again, if they are still the same."""

from __future__ import annotations

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.data import Dataset, open_dataset


def open_same_data(settings: DataSettings, data_hash: str) -> tuple[Dataset | None, str]:
    """Return the data set, or None with the reason why its images cannot be shown.

    Args:
        settings: settings that the data were read with.
        data_hash: hash of the content that the data had.
    """
    try:
        dataset = open_dataset(settings)
    except EnsError:
        return None, "cannot be opened any more"
    return (dataset, "") if dataset.data_hash == data_hash else (None, "have changed")

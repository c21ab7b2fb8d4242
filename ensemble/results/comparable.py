"""Find the rows that were scored on the same images and classes: only these can be compared."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ensemble.results.columns import SET


def sets_of(frame: pd.DataFrame) -> pd.Series:
    """Return data, split and classes of each row as a short label, such as ``mars.npz 3093/3bbf``.

    With ``--background class`` the background counts as a class, so these rows get another label. An ensemble whose
    members are missing does not know its background; it gets a label that no other run has.
    """
    if SET in frame.columns:  # groups made by `by`
        labels: Any = frame[SET]
        return labels
    known: Any = frame[["data", "data_hash", "split_hash", "background"]].astype("string").fillna("?")
    classes = known["background"].map({"class": " + background", "?": " ?"}).astype("string").fillna("")
    keys = known["data_hash"] + "/" + known["split_hash"] + classes
    name = known["data"].groupby(keys).transform("first") + " "  # a renamed file holds the same data
    short = name + known["data_hash"].str[:4] + "/" + known["split_hash"].str[:4] + classes
    alike = keys.groupby(short).transform("nunique") > 1
    return short.where(~alike, name + keys).astype("string")

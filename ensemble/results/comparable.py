"""Which rows were scored on the same images and classes: only those can be compared."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ensemble.results.columns import SET


def sets_of(frame: pd.DataFrame) -> pd.Series:
    """Data, split and classes of each row, as a short text such as ``mars.npz 3093/3bbf``.

    With ``--background class`` the background is a class of its own in the mean: other classes, another set. An
    ensemble whose members are gone does not know which it is and is compared with nothing else.
    """
    if SET in frame.columns:  # groups made by `by`
        made: Any = frame[SET]
        return made
    known: Any = frame[["data", "data_hash", "split_hash", "background"]].astype("string").fillna("?")
    classes = known["background"].map({"class": " + background", "?": " ?"}).astype("string").fillna("")
    keys = known["data_hash"] + "/" + known["split_hash"] + classes
    name = known["data"].groupby(keys).transform("first") + " "  # a file that was renamed is the same data
    short = name + known["data_hash"].str[:4] + "/" + known["split_hash"].str[:4] + classes
    alike = keys.groupby(short).transform("nunique") > 1
    return short.where(~alike, name + keys).astype("string")

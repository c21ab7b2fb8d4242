"""What a study will take, from steps measured on this machine: nothing is trained, nothing is written."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ensemble import measure
from ensemble.progress import Tick, silent
from ensemble.study.run import Planned

OVERHEAD = 1.15  # validation after every epoch, predictions and stores, as a share of the training steps: measured
START = 8.0  # seconds to start a process and load its libraries


def estimate(planned: Sequence[Planned], tick: Tick = silent) -> pd.DataFrame:
    """Seconds, memory and disk of every member, from a few steps of each architecture measured in fresh processes.

    Args:
        planned: from `ensemble.study.run.plan_study`.
        tick: told the progress.

    Returns:
        A row per member: ``label``, ``state``, ``parameters``, ``images_per_second``, ``seconds`` on all cores (0
        where it is trained already), ``memory_mb`` beyond the libraries, ``disk_mb``, and ``note`` where it cannot be
        measured.
    """
    todo = [one for one in planned if one.state != "complete"]
    kinds = {one.measured.model_dump_json(): one.measured for one in todo}
    speed = {}
    for done, (key, settings) in enumerate(kinds.items()):
        tick("measuring steps", done, len(kinds), settings.name)
        speed[key] = measure.in_a_fresh_process(settings)
    tick("measuring steps", len(kinds), len(kinds))
    rows = []
    for one in planned:
        found = speed.get(one.measured.model_dump_json(), {}) if one.state != "complete" else {}
        rate = found.get("train_images_per_second")
        seconds = 0.0 if one.state == "complete" else one.seconds
        if seconds is None and rate and one.images is not None:
            seconds = START + OVERHEAD * one.images / rate
        rows.append(
            {
                "label": one.entry.label,
                "state": one.state,
                "parameters": one.parameters,
                "images_per_second": rate,
                "seconds": seconds,
                "memory_mb": found.get("peak_memory_mb"),
                "disk_mb": 0.0 if one.state == "complete" else one.disk / 1e6,
                "note": found.get("error") or "",
            }
        )
    return pd.DataFrame(rows)

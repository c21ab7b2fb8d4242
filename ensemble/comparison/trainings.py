"""Keep one run of each training, because runs of one training do not show what training again would change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ensemble.comparison.runs import Run


def one_of_each_training(runs: Sequence[Run], factor: str = "") -> list[Run]:
    """Return the runs without those of a training that another run stands for.

    Members that differ only in ``tta`` share their luck: if each of them counted, the noise of training again would
    look as if it was known. The run that stays has the views that most trainings have, so that runs of different
    trainings remain comparable; of equally frequent ones it is that without views.

    Args:
        runs: different runs; those without settings have no training and are left out.
        factor: ``tta`` if its effect is the question: then all runs stay, and each training is a block.
    """
    if factor == "tta":
        return [run for run in runs if run.settings is not None]
    of_training: dict[str, list[Run]] = {}
    for run in runs:
        if run.settings is not None:
            of_training.setdefault(run.settings.training_hash(*run.data[1:]), []).append(run)
    frequent = Counter(run.settings.tta for run in runs if run.settings is not None)

    def rank(run: Run) -> tuple[int, bool]:
        assert run.settings is not None
        return frequent[run.settings.tta], run.settings.tta == "none"

    kept = [max(alike, key=rank) for alike in of_training.values()]
    return [run for run in runs if any(run is one for one in kept)]

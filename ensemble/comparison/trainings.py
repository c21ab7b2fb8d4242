"""Keep one run of each training, because runs of one training do not show what training again would change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ensemble.comparison.runs import Run
from ensemble.config import OF_ONE_TRAINING


def one_of_each_training(runs: Sequence[Run], factor: str = "") -> list[Run]:
    """Return the runs without those of a training that another run stands for.

    Snapshots of a training, and members that differ only in ``tta``, share their luck: if each of them counted, the
    noise of training again would look as if it was known. The run that stays has the snapshot and the views that most
    trainings have, so that runs of different trainings remain comparable; of equally frequent ones it is the last
    snapshot, without views.

    Args:
        runs: different runs; those without settings have no training and are left out.
        factor: ``tta`` or ``snapshot`` if its effect is the question: then runs that differ in it stay.
    """
    apart = [name for name in OF_ONE_TRAINING if name != factor]
    of_training: dict[str, dict[tuple[object, ...], Run]] = {}
    for run in runs:
        if run.settings is not None:
            variant = tuple(getattr(run.settings, name) for name in apart)
            of_training.setdefault(run.settings.training_hash(*run.data[1:], apart=apart), {})[variant] = run
    frequent = Counter(variant for variants in of_training.values() for variant in variants)

    def rank(variant: tuple[object, ...], run: Run) -> tuple[int, int, bool]:
        assert run.settings is not None
        return frequent[variant], run.settings.last_cycle, run.settings.tta == "none"

    kept = [max(variants.items(), key=lambda item: rank(*item))[1] for variants in of_training.values()]
    return [run for run in runs if any(run is one for one in kept)]

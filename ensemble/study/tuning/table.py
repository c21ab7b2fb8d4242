"""The trials as a table, and what of the settings mattered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ensemble.study.tuning.journal import EPOCH, ERROR, MIOU, SECONDS, Journal
from ensemble.study.tuning.space import Knob, rounded

FEWEST = 4  # complete trials of which importances can be told at all


def trials_table(journal: Journal, space: Mapping[str, Knob]) -> pd.DataFrame:
    """A row per trial that ended or runs, the oldest first.

    Returns:
        ``trial`` (its number), ``state`` (``complete``, ``pruned``, ``failed``, ``running``), ``miou`` on the inner
        hold-out after its last judged epoch (a share of 1; selected, since settings are chosen by it), ``epoch`` it
        came to, ``seconds`` of training, a column for everything that is looked for, and ``error``.
    """
    found = {trial.number: trial for trial in (*journal.ended(), *journal.trials(journal.state.RUNNING))}
    words = {"FAIL": "failed"}
    rows: list[dict[str, Any]] = []
    for number, trial in sorted(found.items()):
        told = trial.user_attrs
        rows.append(
            {
                "trial": number,
                "state": words.get(trial.state.name, trial.state.name.lower()),
                "miou": told.get(MIOU),
                "epoch": told.get(EPOCH),
                "seconds": told.get(SECONDS),
                **{name: rounded(trial.params.get(name)) for name in space},
                "error": told.get(ERROR, ""),
            }
        )
    columns = ["trial", "state", "miou", "epoch", "seconds", *space, "error"]
    table = pd.DataFrame(rows, columns=columns)
    return table.astype({"miou": "Float64", "epoch": "Int64", "seconds": "Float64"})


def importance(journal: Journal) -> dict[str, float]:
    """Share of the variance of mIoU that each option makes, the largest first (functional ANOVA on a random forest).

    Empty for fewer than four complete trials, and where all of them score the same.

    Reference:
        Hutter et al., An Efficient Approach for Assessing Hyperparameter Importance, 2014.
    """
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances  # noqa: PLC0415  (an extra)

    complete = journal.trials(journal.state.COMPLETE)
    if len(complete) < FEWEST or len({trial.values[0] for trial in complete}) < 2:
        return {}
    found = get_param_importances(
        journal.study, evaluator=FanovaImportanceEvaluator(seed=0), target=lambda trial: trial.values[0]
    )
    return {name: float(share) for name, share in found.items()}

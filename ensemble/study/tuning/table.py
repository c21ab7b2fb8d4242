"""Tabulate the trials and the importance of each tuned option."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ensemble.study.tuning.journal import EPOCH, ERROR, MIOU, SECONDS, Journal
from ensemble.study.tuning.space import TunedOption, rounded

FEWEST = 4  # smallest number of complete trials for which importances are computed


def trials_table(journal: Journal, space: Mapping[str, TunedOption]) -> pd.DataFrame:
    """Return one row per trial that has ended or is running, the oldest first.

    Returns:
        ``trial`` (its number), ``state`` (``complete``, ``pruned``, ``failed``, ``running``), ``miou`` on the inner
        hold-out after its last judged epoch (a share of 1; selected, since settings are chosen by it), last
        ``epoch``, ``seconds`` of training, one column per tuned option, and ``error``.
    """
    found = {journal.number(trial): trial for trial in (*journal.ended(), *journal.trials(journal.state.RUNNING))}
    words = {"FAIL": "failed"}
    rows: list[dict[str, Any]] = []
    for number, trial in sorted(found.items()):
        attributes = trial.user_attrs
        rows.append(
            {
                "trial": number,
                "state": words.get(trial.state.name, trial.state.name.lower()),
                "miou": attributes.get(MIOU),
                "epoch": attributes.get(EPOCH),
                "seconds": attributes.get(SECONDS),
                **{name: rounded(trial.params.get(name)) for name in space},
                "error": attributes.get(ERROR, ""),
            }
        )
    columns = ["trial", "state", "miou", "epoch", "seconds", *space, "error"]
    table = pd.DataFrame(rows, columns=columns)
    return table.astype({"miou": "Float64", "epoch": "Int64", "seconds": "Float64"})


def importance(journal: Journal) -> dict[str, float]:
    """Return the share of the variance of mIoU that each option explains, the largest first.

    The shares come from a functional ANOVA on a random forest. The result is empty for fewer than four complete
    trials and for trials that all score the same.

    Reference:
        Hutter et al., An Efficient Approach for Assessing Hyperparameter Importance, 2014.
    """
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances  # noqa: PLC0415  (an extra)

    complete = journal.trials(journal.state.COMPLETE)
    if len(complete) < FEWEST or len({trial.values[0] for trial in complete}) < 2:
        return {}
    shares = get_param_importances(
        journal.study, evaluator=FanovaImportanceEvaluator(seed=0), target=lambda trial: trial.values[0]
    )
    return {name: float(share) for name, share in shares.items()}

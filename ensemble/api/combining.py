"""Combine members into one ensemble, or compare every way of combining them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.config import Calibrate, Decide
from ensemble.core.errors import EnsError
from ensemble.core.progress import Tick, silent

if TYPE_CHECKING:
    import pandas as pd

    from ensemble.combining.combine import Combination


def combine(
    members: Sequence[str | Path] = (),
    *,
    method: str = "learned",
    weights: str | Sequence[float] | None = None,
    options: Mapping[str, Any] | None = None,
    calibrate: Calibrate = "none",
    decide: Decide = "argmax",
    top: int | None = None,
    drop: Sequence[str | Path] = (),
    folds: int | None = None,
    runs: str | Path = "runs",
    tick: Tick = silent,
) -> Combination:
    """Combine members (all of the newest data set where none are named), judge the ensemble and save it.

    Args:
        members: members by name, unique beginning or path.
        method: a registered method; see ``ensemble.combining.COMBINERS``.
        weights: weights of the method ``weighted``, in the order of the members.
        options: options of the method by name.
        calibrate: temperatures fitted for the ``members``, for the ``pool``, for ``both``, or ``none``: the default,
            for a method is then what its name says, and a temperature after pooling makes the probabilities right
            without changing a class map.
        decide: ``argmax``, or ``offsets`` of the classes that maximise mIoU.
        top: keep this many members, the best by mIoU; the choice is cross-fitted like everything else.
        drop: members to leave out.
        folds: folds of the cross-fitted score.
        runs: folder for runs.
        tick: told the progress.

    Raises:
        EnsError: fewer than two members, members that do not fit together, weights that do not fit the members.
    """
    from ensemble.combining.combine import combine_members  # noqa: PLC0415
    from ensemble.runs.select import choose_members  # noqa: PLC0415

    given = dict(options or {})
    if weights is not None:
        if method != "weighted":
            raise EnsError(f"--weights goes with --method weighted, got --method {method}; drop one of the two")
        if top is not None:
            raise EnsError("expected --weights or --top, got both; --top chooses members, --weights counts on them all")
        given["weights"] = _numbers(weights)
    chosen = choose_members(Path(runs), members, drop)
    return combine_members(
        chosen, method, given, calibrate=calibrate, decide=decide, top=top, runs=Path(runs), folds=folds, tick=tick
    )


def combine_all(
    members: Sequence[str | Path] = (),
    *,
    calibrate: Calibrate = "none",
    decide: Decide = "argmax",
    top: int | None = None,
    drop: Sequence[str | Path] = (),
    folds: int | None = None,
    runs: str | Path = "runs",
    tick: Tick = silent,
) -> pd.DataFrame:
    """Every method with every choice of its options, cross-fitted on the same folds: a row each; nothing is saved.

    The arguments are those of :func:`combine`; the columns are those of
    :func:`ensemble.combining.compare_methods.compare_methods`, scores as shares of 1.

    Raises:
        EnsError: fewer than two members, or members that do not fit together.
    """
    import pandas as pd  # noqa: PLC0415

    from ensemble.combining.compare_methods import compare_methods  # noqa: PLC0415
    from ensemble.runs.select import choose_members  # noqa: PLC0415

    chosen = choose_members(Path(runs), members, drop)
    return pd.DataFrame(compare_methods(chosen, calibrate=calibrate, decide=decide, top=top, folds=folds, tick=tick))


def _numbers(weights: str | Sequence[float]) -> tuple[float, ...]:
    parts = weights.split(",") if isinstance(weights, str) else weights
    try:
        return tuple(float(part) for part in parts)
    except ValueError:
        raise EnsError(f"expected weights as numbers separated by commas, such as 2,1,1, got '{weights}'") from None

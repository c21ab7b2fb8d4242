"""The table of all methods: cross-fitted scores, differences that hold together, and methods that fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ensemble.combining.alignment import align
from ensemble.combining.combine import combine
from ensemble.combining.compare_methods import combine_all
from ensemble.combining.crossfit import cross_fit
from ensemble.combining.pipeline import Pipeline
from ensemble.combining.registry import variants
from ensemble.core.errors import EnsError, UnknownName
from ensemble.evaluation.confusion import mean_iou
from ensemble.evaluation.paired import Draws
from ensemble.runs.member import Member

MakeMember = Callable[..., Member]


def test_the_table_has_every_method_with_its_cross_fitted_score(tmp_path: Path, make_member: MakeMember) -> None:
    members = [make_member(tmp_path, f"net{i}", quality=quality) for i, quality in enumerate((0.5, 1.0, 2.0))]
    frame = combine_all(members, folds=3, runs=tmp_path)
    rows: list[dict[str, Any]] = frame.to_dict("records")  # pyright: ignore[reportAssignmentType]
    assert {row["method"].partition("(")[0] for row in rows[:-1]} == {method for method, _ in variants()}
    assert rows[-1]["method"] == "best member"
    scores = [row["miou"] for row in rows[:-1]]
    assert scores == sorted(scores, reverse=True)
    by_name = {row["method"]: row for row in rows}
    alone = cross_fit(align(members), Pipeline("learned"), folds=3)
    assert by_name["learned"]["miou"] == pytest.approx(float(mean_iou(alone.crossfit.confusions_nkk.sum(0))))
    average = by_name["average"]
    assert (average["difference"], average["difference_low"], average["difference_high"]) == (0, 0, 0)
    assert average["miou_in_sample"] == average["miou"]
    for row in rows:
        assert row["miou_low"] <= row["miou"] <= row["miou_high"]
        assert row["difference"] == pytest.approx(row["miou"] - average["miou"])
        assert row["to_best"] == pytest.approx(row["miou"] - rows[-1]["miou"])
        assert row["to_best_low"] <= row["to_best"] <= row["to_best_high"]
    systems = (alone.crossfit.confusions_nkk, alone.best_member_nkk)
    learned, best = map(Draws.of(align(members).groups).iou, systems)
    assert 0.95 <= frame.attrs["level"] <= 1 - 0.05 / (2 * len(rows) - 2)  # the average and the best member are in both
    gain = learned.minus(best).interval(frame.attrs["level"])
    limits = (by_name["learned"]["to_best_low"], by_name["learned"]["to_best_high"])
    assert limits == pytest.approx((gain.low, gain.high))
    assert by_name["auto"]["chosen"]
    assert by_name["auto"]["chosen_in_folds"].endswith(" of 3")
    assert Pipeline("auto").neighbourhood  # so that it chooses among the same methods as here
    auto = cross_fit(align(members), Pipeline("auto"), folds=3)
    assert by_name["auto"]["miou"] == pytest.approx(float(mean_iou(auto.crossfit.confusions_nkk.sum(0))))


def test_from_python_it_is_a_frame_without_the_members_dropped(tmp_path: Path, make_member: MakeMember) -> None:
    names = [make_member(tmp_path, f"net{i}", quality=1.0 + i).name for i in range(3)]
    frame = combine_all(drop=[names[1]], folds=2, runs=tmp_path)
    assert isinstance(frame, pd.DataFrame)
    assert not (tmp_path / "ensembles").exists()
    done = combine(method="average", drop=["net1"], folds=2, runs=tmp_path)
    assert list(done.aligned.names) == [names[0], names[2]]
    assert frame.set_index("method").loc["average", "miou"] == pytest.approx(done.ensemble.scores["miou"])
    with pytest.raises(UnknownName, match=f"unknown member to drop '{names[1]}'"):
        combine(names[::2], method="average", drop=["net1"], runs=tmp_path)
    with pytest.raises(EnsError, match="expected at least two members to combine, got 1"):
        combine(drop=names[:2], runs=tmp_path)


def fail(*_: Any, **__: Any) -> Any:
    raise np.linalg.LinAlgError("SVD did not converge")


def test_a_method_that_fails_is_a_row_with_its_reason(
    tmp_path: Path, make_member: MakeMember, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [make_member(tmp_path, f"net{i}", quality=1.0 + i) for i in range(2)]
    monkeypatch.setattr("ensemble.combining.methods.per_class.fit_class_weights", fail)
    monkeypatch.setattr("ensemble.combining.methods.per_class.choose_strength", lambda _: 1.0)
    rows: list[dict[str, Any]] = combine_all(members, folds=2, runs=tmp_path).to_dict("records")  # pyright: ignore[reportAssignmentType]
    by_name = {row["method"]: row for row in rows}
    failed = by_name.pop("per-class")
    assert failed["failed"] == "SVD did not converge"
    assert np.isnan(failed["miou"])
    assert [row["failed"] for row in by_name.values()] == [""] * len(by_name)
    assert not np.isnan([row["miou"] for row in by_name.values()]).any()
    assert by_name["auto"]["chosen"]
    assert rows[-1]["method"] == "best member"
    text = r"per-class cannot be fitted to these members \(SVD did not converge\); choose another method"
    with pytest.raises(EnsError, match=text):
        cross_fit(align(members), Pipeline("per-class"), folds=2)

"""Planning a study: its data are checked once, and opened once for the members that share them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.config import DataSettings
from ensemble.data import Dataset
from ensemble.study import read_recipe
from ensemble.study.plan_study import plan_study, run_data_check
from ensemble.training import plan as plan_module
from ensemble.training.train import plan_training
from tests.study.test_run import DEFAULTS


def test_other_data_are_checked_anew_and_the_same_once(
    tmp_path: Path, tiny_npz: Path, tiny_arrays: dict[str, Any]
) -> None:
    path, other = tmp_path / "checked.toml", tmp_path / "other.npz"
    member = '[[members]]\nlabel = "dice"\nloss = "dice"\nexclude = "{check}"\n'
    path.write_text(DEFAULTS.replace('name = "tiny"', 'name = "tiny"\ncheck = true') + member)
    training = tiny_arrays["training_set"].copy()
    training[1] = training[0]
    np.savez(other, **{**tiny_arrays, "training_set": training})

    def suspects(data: Path) -> str:
        checked = run_data_check(read_recipe(path, str(data)), tmp_path)
        return Path(checked.entries[0].arguments["exclude"]).read_text()

    first, second = suspects(tiny_npz), suspects(other)
    assert (first.count(",identical-image,"), second.count(",identical-image,")) == (0, 1)
    before = sorted(file.stat().st_mtime_ns for file in tmp_path.rglob("suspects.csv"))
    assert (suspects(tiny_npz), suspects(other)) == (first, second)
    assert sorted(file.stat().st_mtime_ns for file in tmp_path.rglob("suspects.csv")) == before


def test_data_that_members_share_are_opened_once(
    tiny_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [
        'loss = "ce"',
        'loss = "dice"\narch = "unet-baseline(filters=4, depth=1)"',
        'loss = "ce"\narch = "unet-baseline(filters=16, depth=1)"',
        'loss = "ce"\narch = "unet-baseline(filters=16, depth=1)"\noptimiser = "adamw"',
        'loss = "ce"\nbackground = "class"',
        'loss = "ce"\nfolds = 2',
        'loss = "dice"\nfolds = 2\nseed = 1',
        'loss = "ce"\nfolds = 2\nsplit_seed = 1',
        'loss = "ce"\nval_fraction = 0.4',
    ]
    file = tmp_path / "study.toml"
    file.write_text(DEFAULTS + "".join(f'[[members]]\nlabel = "{at}"\n{one}\n' for at, one in enumerate(entries)))
    opened, read = list[str](), plan_module.open_dataset

    def counted(settings: DataSettings, *more: Any) -> Dataset:
        opened.append(repr(settings))
        return read(settings, *more)

    monkeypatch.setattr(plan_module, "open_dataset", counted)
    planned = plan_study(read_recipe(file, str(tiny_npz)), tmp_path / "runs", threads=1)
    assert len(opened) == 5  # four members have the data of the one before
    assert [one.measured.optimiser for one in planned] == [*["adamw"] * 2, "muon", *["adamw"] * 6]  # by its filters
    for one in planned:
        alone = plan_training(one.job.arguments, threads=1)
        assert (one.job.name, one.parameters) == (alone.path.name, alone.parameters)
        assert one.images == 2 * sum(len(alone.training_rows(fold)) for fold in range(len(alone.split.validation)))

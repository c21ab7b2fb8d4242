"""Looks: counted once each, by several processes at once, and kept when ensembles are removed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ensemble.combining.combine import combine
from ensemble.combining.compare_methods import combine_all
from ensemble.combining.registry import variants
from ensemble.config import PoolSettings
from ensemble.core.errors import EnsError
from ensemble.core.files import read_json, write_json
from ensemble.runs.looks import check_looks, open_vault, record_variants, with_looks
from ensemble.runs.remove import remove


def settings(seed: int, split: str = "a") -> PoolSettings:
    return PoolSettings(members=("unet", "pan"), method="average", data_hash="d", split_hash=split, seed=seed)


# a process that judges 30 seeds; an own program, since pytest's modules cannot be imported in other processes
RECORD = """
import sys
from pathlib import Path

from ensemble.config import PoolSettings
from ensemble.runs.looks import record_variants

for seed in range(int(sys.argv[2]), int(sys.argv[2]) + 30):
    variant = PoolSettings(members=("unet", "pan"), method="average", data_hash="d", split_hash="a", seed=seed)
    record_variants(Path(sys.argv[1]), [variant])
"""


def test_each_variant_of_a_split_counts_once(tmp_path: Path) -> None:
    assert record_variants(tmp_path, [settings(0), settings(1)]) == 2
    assert record_variants(tmp_path, [settings(1), settings(2)]) == 3
    assert record_variants(tmp_path, [settings(0, "other split")]) == 1
    assert record_variants(tmp_path, [settings(0)]) == 3
    (folder,) = (path for path in (tmp_path / "looks").iterdir() if len(list(path.iterdir())) == 3)
    looks = [read_json(file) for file in folder.iterdir()]
    assert sorted(look["seed"] for look in looks) == [0, 1, 2]
    assert all(look["members"] == ["unet", "pan"] and look["looked"].endswith("+00:00") for look in looks)


def test_processes_at_once_lose_no_look(tmp_path: Path) -> None:
    workers = [subprocess.Popen([sys.executable, "-c", RECORD, str(tmp_path), str(start)]) for start in (0, 20)]
    assert [worker.wait() for worker in workers] == [0, 0]
    assert record_variants(tmp_path, [settings(0)]) == 50
    assert not [file for file in (tmp_path / "looks").rglob("*") if file.is_file() and file.suffix != ".json"]


def test_commands_count_what_they_judge_and_removal_forgets_nothing(tmp_path: Path, make_member: Any) -> None:
    for name in ("net0", "net1"):
        make_member(tmp_path, name)
    first = combine(method="average", folds=2, runs=tmp_path)
    assert first.looks == 1
    assert combine(method="average", folds=2, runs=tmp_path).looks == 1  # the same again
    assert combine(method="greedy(bags=3)", folds=2, runs=tmp_path).looks == 2
    frame = combine_all(folds=2, runs=tmp_path)
    assert frame.attrs["looks"] == len(variants()) + 1  # the average is among them, greedy of three bags is not
    assert combine(method="learned(objective=log-loss)", folds=2, runs=tmp_path).looks == frame.attrs["looks"]
    remove([first.ensemble.name], tmp_path)
    assert combine(method="average", folds=3, runs=tmp_path).looks == frame.attrs["looks"] + 1


def test_advice_of_ensembles_made_before_looks_were_counted_stays_as_it_is(tmp_path: Path) -> None:
    ensemble = tmp_path / "ensembles" / "average-2-123456"
    assert with_looks("Use it.", ensemble, settings(0)) == "Use it."
    record_variants(tmp_path, [settings(seed) for seed in range(3)])
    assert with_looks("Use it.", ensemble, settings(0)) == (
        "Use it. 3 variants so far judged on these validation images; the intervals account for this one only, so the"
        " best of all looks better than it is."
    )


def test_a_damaged_look_is_named_and_still_counts(tmp_path: Path) -> None:
    open_vault(tmp_path, "data", "unet-ce", "1")
    record_variants(tmp_path, [settings(seed) for seed in range(2)])
    assert list(check_looks(tmp_path)) == [None] * 3
    (vault,) = (tmp_path / "looks").glob("vault-*/*.json")
    (one, _) = sorted((tmp_path / "looks").glob("split-*/*.json"))
    write_json(vault, read_json(vault) | {"model": "pan-ce"})
    one.write_text("{")
    problems = [str(problem) for problem in check_looks(tmp_path) if problem]
    assert [file for file in (one, vault) if any(str(file) in problem for problem in problems)] == [one, vault]
    assert len(problems) == 2
    assert record_variants(tmp_path, [settings(0)]) == 2
    with pytest.raises(EnsError, match=r"\(damaged or edited\), but the look still counts; put a copy of it back"):
        open_vault(tmp_path, "data", "unet-ce", "1")

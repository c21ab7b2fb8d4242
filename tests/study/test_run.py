"""Studies on tiny data: what is missing is trained, failures are rows, the same call resumes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from ensemble.cli import app
from ensemble.core.errors import EnsError
from ensemble.inference.hardware import torch_threads
from ensemble.study import Recipe, read_recipe, run_study
from ensemble.study.jobs import Job, OnEvent, Outcome
from ensemble.study.plan_study import plan_study
from ensemble.training.reuse import find_trained
from ensemble.training.train import plan_training, train

DEFAULTS = """
name = "tiny"
[defaults]
arch = "unet-baseline(filters=2, depth=1)"
epochs = 2
batch_size = 4
lr = 2e-2
device = "cpu"
precision = "fp32"
"""
TEXT = f"""{DEFAULTS}[[grid]]
group = "seeds"
loss = "ce"
seed = [0, 1]
[[members]]
label = "dice"
loss = "dice"
[[ensembles]]
method = "average"
of = ["seeds"]
[[ensembles]]
method = "learned"
"""


class InProcess:
    """Trains here, one after the other; labels in ``broken`` fail."""

    def __init__(self, broken: Sequence[str] = ()) -> None:
        self.broken = broken
        self.trained: list[str] = []

    def run(self, jobs: Sequence[Job], on_event: OnEvent, on_outcome: Callable[[Outcome], None]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for job in jobs:
            if job.label in self.broken:
                outcomes.append(Outcome(job.label, job.name, "failed", error="the process was killed by SIGKILL"))
            else:
                member = train(**job.arguments)
                self.trained.append(job.label)
                outcomes.append(Outcome(job.label, member.name, "trained", 1.0))
            on_outcome(outcomes[-1])
        return outcomes


@pytest.fixture
def recipe(tmp_path: Path, tiny_npz: Path) -> Recipe:
    """Three members and two ensembles of the tiny data."""
    path = tmp_path / "tiny.toml"
    path.write_text(TEXT)
    return read_recipe(path, str(tiny_npz))


def test_a_study_trains_combines_and_writes_its_table(recipe: Recipe, tmp_path: Path) -> None:
    runs, told = tmp_path / "runs", list[Outcome]()
    done = run_study(recipe, runs, executor=InProcess(), on_outcome=told.append)
    labels = [
        "dice",
        "unet-baseline(filters=2, depth=1) x ce, seed=0",
        "unet-baseline(filters=2, depth=1) x ce, seed=1",
        "average of seeds",
        "learned of all 3",
    ]
    assert done.table["label"].tolist() == labels
    assert done.table["group"].tolist() == ["", "seeds", "seeds", "ensemble", "ensemble"]
    assert set(done.table["miou"].isna()) == {False}
    assert not done.failed
    assert set(done.verdicts) == {"average of seeds", "learned of all 3"}
    assert pd.read_csv(done.path)["name"].tolist() == done.table["name"].tolist()
    assert [outcome.label for outcome in told] == labels[:3]

    again = InProcess()
    second = run_study(recipe, runs, executor=again)
    assert again.trained == []
    assert [outcome.state for outcome in (*second.members, *second.ensembles)] == ["found"] * 5
    pd.testing.assert_frame_equal(second.table, done.table)


def test_a_member_that_differs_in_threads_alone_is_taken_as_it_is(
    recipe: Recipe, tmp_path: Path, tiny_npz: Path
) -> None:
    first = recipe.entries[0].arguments
    other: dict[str, Any] = {**first, "lr": 1e-2}
    with torch_threads(2):
        there = train(**first, data=tiny_npz, out=tmp_path)
        train(**other, data=tiny_npz, out=tmp_path)  # differs in more
    planned = plan_study(recipe, tmp_path, threads=1)
    assert [(one.state, one.job.name == there.name) for one in planned] == [("complete", True), *[("new", False)] * 2]
    executor = InProcess()
    done = run_study(recipe, tmp_path, executor=executor, threads=1)
    assert executor.trained == [entry.label for entry in recipe.entries[1:]]
    assert done.table["name"].tolist()[0] == there.name
    exact = plan_training({**first, "data": tiny_npz, "out": tmp_path, "deterministic": True}, threads=1)
    assert find_trained(replace(exact, settings=exact.settings.model_copy(update={"deterministic": False}))) is not None
    assert find_trained(exact) is None
    (there.path / "scores.json").write_text("{}")
    assert plan_study(recipe, tmp_path, threads=1)[0].state == "new"


def test_a_member_that_fails_is_a_row_and_the_rest_go_on(recipe: Recipe, tmp_path: Path) -> None:
    done = run_study(recipe, tmp_path, executor=InProcess(broken=["dice"]))
    row: Any = done.table.set_index("label").loc["dice"]
    assert row["error"] == "the process was killed by SIGKILL"
    assert bool(pd.isna(row["miou"]))
    assert [outcome.label for outcome in done.failed] == ["dice", "learned of all 3"]
    assert done.failed[1].error == "not made because dice did not finish"
    assert set(done.verdicts) == {"average of seeds"}
    resumed = InProcess()
    assert not run_study(recipe, tmp_path, executor=resumed).failed
    assert resumed.trained == ["dice"]


def test_nothing_at_all_works(recipe: Recipe, tmp_path: Path) -> None:
    labels = [entry.label for entry in recipe.entries]
    done = run_study(recipe, tmp_path, executor=InProcess(broken=labels))
    assert len(done.failed) == len(done.table) == 5


def test_mistakes_are_found_before_anything_is_trained(recipe: Recipe, tmp_path: Path, tiny_npz: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(TEXT.replace('loss = "dice"', 'loss = "dise"'))
    runs = tmp_path / "runs"
    with pytest.raises(EnsError, match="member 'dice' of the recipe 'tiny': unknown loss 'dise'; did you mean 'dice'"):
        run_study(read_recipe(path, str(tiny_npz)), runs, executor=InProcess())
    path.write_text(TEXT.replace('loss = "dice"', 'loss = "ce"'))
    with pytest.raises(EnsError, match=r"'unet-baseline\(.*\) x ce, seed=0' and 'dice' of the recipe are the same"):
        run_study(read_recipe(path, str(tiny_npz)), runs, executor=InProcess())
    assert not runs.exists()


def test_ensembles_that_differ_in_one_choice_have_a_verdict_each(tmp_path: Path, tiny_npz: Path) -> None:
    path = tmp_path / "choices.toml"
    path.write_text(
        TEXT.replace('method = "learned"', 'method = "average"\ntop = 2\n[[ensembles]]\nmethod = "average"')
    )
    done = run_study(read_recipe(path, str(tiny_npz)), tmp_path, executor=InProcess())
    titles = ["average of seeds", "average of all 3, top=2", "average of all 3"]
    assert list(done.verdicts) == [outcome.label for outcome in done.ensembles] == titles
    assert done.table["label"].is_unique


def test_check_writes_the_list_that_members_exclude(tmp_path: Path, tiny_npz: Path) -> None:
    path = tmp_path / "checked.toml"
    text = TEXT.replace('label = "dice"', 'label = "dice"\nexclude = "{check}"')
    path.write_text(text.replace('name = "tiny"', 'name = "tiny"\ncheck = true'))
    done = run_study(read_recipe(path, str(tiny_npz)), tmp_path, executor=InProcess())
    assert len(list((tmp_path / "studies").glob("tiny-check-*/suspects.csv"))) == 1
    assert not done.failed


def test_a_list_of_images_is_no_list_of_suspects(tmp_path: Path, tiny_npz: Path) -> None:
    path = tmp_path / "listed.toml"
    text = TEXT.replace('label = "dice"', 'label = "dice"\nexclude = ["1"]')
    path.write_text(text.replace('name = "tiny"', 'name = "tiny"\ncheck = true'))
    with pytest.raises(EnsError, match=r"member 'dice' of the recipe 'tiny': .*exclude"):
        run_study(read_recipe(path, str(tiny_npz)), tmp_path, executor=InProcess())


def test_the_command_ends_in_a_table_and_a_report(recipe: Recipe, tmp_path: Path, tiny_npz: Path) -> None:
    done = run_study(recipe, tmp_path, executor=InProcess())
    other: dict[str, Any] = {**recipe.entries[0].arguments, "seed": 9}
    train(**other, data=tiny_npz, out=tmp_path)  # of no study: not in its report
    options = ["--data", str(tiny_npz), "--out", str(tmp_path), "--jobs", "1", "--json"]
    ended = CliRunner().invoke(app, ["study", str(tmp_path / "tiny.toml"), *options])
    assert ended.exit_code == 0, ended.output
    content = json.loads(ended.stdout)
    assert content["table"] == str(done.path)
    page = Path(content["report"]).read_text(encoding="utf-8")
    names = {path.name for path in (tmp_path / "members").iterdir()}
    shown = {name for name in names if name in page}
    assert len(names) == 4
    assert shown == {outcome.name for outcome in done.members}

    written = Path(content["report"]).stat().st_mtime_ns
    again = CliRunner().invoke(app, ["study", str(tmp_path / "tiny.toml"), *options[:-1]])
    assert "nothing is new; to write the report again, remove" in " ".join(again.output.split())
    assert Path(content["report"]).stat().st_mtime_ns == written


def test_a_study_is_not_started_several_times_over(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(EnsError, match=r"ens study starts processes itself, but a launcher started it 2 times"):
        run_study(recipe, tmp_path, executor=InProcess())


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done_and_the_same_command_ends_it(tmp_path: Path, tiny_npz: Path) -> None:
    path = tmp_path / "long.toml"
    path.write_text(TEXT.replace("epochs = 2", "epochs = 100"))
    # Where the tests run behind an "&", processes would be deaf to SIGINT.
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    main = ["-c", f"{listen}; from ensemble.cli import main; main()", "study", str(path)]
    command = [sys.executable, *main, "--data", str(tiny_npz), "--out", str(tmp_path), "--jobs", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("members/*/checkpoint-f0.pt")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 130
    assert "the same command resumes it" in errors
    (status,) = tmp_path.glob("members/*/status.json")
    assert '"interrupted"' in status.read_text()
    assert not run_study(read_recipe(path, str(tiny_npz)), tmp_path, executor=InProcess()).failed

"""The program that trains one member: it checks the name, and waits for a lock as long as the job says."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ensemble.core.errors import EnsError
from ensemble.core.locks import locked
from ensemble.runs.member import Member
from ensemble.study import member_main
from ensemble.study.jobs import Job
from ensemble.study.member_main import check_name, main
from ensemble.study.member_process import MemberProcess
from ensemble.training.train import plan_training


@pytest.fixture
def arguments(tiny_npz: Path, tmp_path: Path) -> dict[str, Any]:
    """Arguments of a member that is trained within a second."""
    small = {"arch": "unet-baseline(filters=2, depth=1)", "loss": "ce", "epochs": 1}
    return {"data": str(tiny_npz), **small, "device": "cpu", "precision": "fp32", "out": str(tmp_path)}


def test_another_member_than_planned_is_refused(arguments: dict[str, Any]) -> None:
    plan = plan_training(arguments, threads=1)
    check_name(plan.path.name, plan)
    with pytest.raises(EnsError, match=r"the study planned other, but on .* it would be unet-.*-s0-.*1 threads"):
        check_name("other", plan)


def test_it_waits_for_the_lock_of_a_killed_study(
    arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(member_main, "RETRY_SECONDS", 0.1)
    plan = plan_training(arguments)
    job = Job("one", plan.path.name, arguments)
    with locked(plan.path):
        assert main(json.dumps(asdict(job))) == 2
    assert "has worked on" in json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
    taken, waiting = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(plan.path):
            taken.set()
            assert waiting.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert taken.wait(10)
    write_line = member_main.write_line

    def watch(**content: Any) -> None:
        if content.get("task") == "waiting for another process that trains this member":
            waiting.set()
        write_line(**content)

    monkeypatch.setattr(member_main, "write_line", watch)
    started = time.monotonic()
    assert main(json.dumps(asdict(Job("one", plan.path.name, arguments, lock_seconds=60)))) == 0
    assert time.monotonic() - started < 60
    holder.join()
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"name": plan.path.name}
    assert Member.open(plan.path).scores["miou"] >= 0


def test_nothing_is_imported_from_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('the numpy.py of the working folder ran')")
    job = Job("one", "name", {"data": str(tmp_path / "nothing.npz"), "arch": "unet", "loss": "ce"})
    outcome = MemberProcess(job, 1, tmp_path).listen(lambda *_: None)
    assert outcome.state == "failed"
    assert "nothing.npz" in outcome.error  # the first mistake of the job, not the numpy.py

"""Members on this machine: processes that share its cores, and fail alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from ensemble.study import read_recipe
from ensemble.study.jobs import Job, OnEvent, Outcome
from ensemble.study.local import LocalExecutor, default_jobs, threads_per_job
from ensemble.study.member_process import PATIENCE
from ensemble.study.plan_study import plan_study
from tests.study.test_run import DEFAULTS


@pytest.mark.parametrize(("cores", "gpu", "jobs"), [(1, False, 1), (2, False, 2), (16, False, 2), (16, True, 1)])
def test_two_members_at_a_time_share_a_cpu(monkeypatch: pytest.MonkeyPatch, cores: int, gpu: bool, jobs: int) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: cores)
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    assert default_jobs() == jobs
    assert threads_per_job(jobs) == {1: None, 2: cores // 2}[jobs]


@pytest.mark.slow
def test_processes_of_their_own_train_fail_and_crash_alone(tmp_path: Path, tiny_npz: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(f'{DEFAULTS}[[members]]\nlabel = "dice"\nloss = "dice"\n')
    jobs = [planned.job for planned in plan_study(read_recipe(path, str(tiny_npz)), tmp_path, threads=1)]
    wrong = Job("wrong", "none", {**jobs[0].arguments, "loss": "dise"})
    crash = Job("crash", "none", {"progress": "not a function"})  # given twice: a TypeError, which no user can cause
    told, events = list[Outcome](), list[tuple[str, str]]()
    outcomes = LocalExecutor(2, threads=1).run(
        [jobs[0], wrong, crash], lambda job, task, *_: events.append((job.label, task)), told.append
    )
    assert [outcome.state for outcome in outcomes] == ["trained", "failed", "failed"]
    assert outcomes[0].name == jobs[0].name
    assert (tmp_path / "members" / jobs[0].name / "scores.json").is_file()
    assert outcomes[1].error.startswith("unknown loss 'dise'")
    assert outcomes[2].error.startswith("the process crashed with code 1: TypeError")
    assert ("dice", "training") in events
    assert {outcome.label for outcome in told} == {"dice", "wrong", "crash"}


def test_members_wait_for_the_process_of_a_killed_study(monkeypatch: pytest.MonkeyPatch) -> None:
    class FakeProcess:
        def __init__(self, job: Job, threads: int | None) -> None:
            self.job = job

        def listen(self, on_event: OnEvent) -> Outcome:
            return Outcome(self.job.label, self.job.name, "trained", seconds=self.job.lock_seconds)

    monkeypatch.setattr("ensemble.study.local.MemberProcess", FakeProcess)
    (outcome,) = LocalExecutor().run([Job("one", "ce-s0", {})], lambda *_: None, lambda _: None)
    assert outcome.seconds == PATIENCE  # its old process ends at its next step, and holds the lock until then

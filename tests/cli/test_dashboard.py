"""The picture of a study where there is no terminal: lines of how far it is, and one for each member that ended."""

from __future__ import annotations

import io
import re
import time

import pytest

from ensemble.cli import dashboard
from ensemble.cli.console import Output, SafeConsole
from ensemble.cli.dashboard import Dashboard
from ensemble.study.jobs import Job, Outcome


def test_without_a_terminal_lines_tell_how_far_it_is_and_how_each_member_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "PLAIN_SECONDS", -1.0)
    output, stream = Output(), io.StringIO()
    output.progress_console = SafeConsole(file=stream, force_terminal=False, width=40, highlight=False)
    long, short = (Job(label, label, {}) for label in ("a member with a label beyond the width [of] a line", "b"))
    with Dashboard(output, 3) as board:
        for done in (100, 200, 300):
            board.event(long, "training", done, 1000, f"epoch 1/1 loss {done}")
            time.sleep(0.01)
        board.event(short, "training", 500, 1000, "")
        board.outcome(Outcome(long.label, "", "failed", error="killed by [SIGKILL]"))
        board.outcome(Outcome("b", "", "trained", 12.3))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 6
    assert re.fullmatch(r"0/3 members; a member .* line: training 100/1000 epoch 1/1 loss 100", lines[0])
    assert re.fullmatch(r"0/3 members, ETA 0:00:\d\d; a member .* training 300/1000 epoch 1/1 loss 300", lines[2])
    assert lines[4:] == [f"failed  {long.label}: killed by [SIGKILL]", "trained in 12 s  b"]


def test_each_fold_is_a_part_of_a_member(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "PLAIN_SECONDS", -1.0)
    output, stream = Output(), io.StringIO()
    output.progress_console = SafeConsole(file=stream, force_terminal=False, width=40, highlight=False)
    with Dashboard(output, 1) as board:
        for fold in (1, 2):
            for done in (25, 50):
                time.sleep(0.05)
                board.event(Job("a", "a", {}), f"training fold {fold} of 100", done, 50, "")
    minutes, seconds = re.findall(r"ETA 0:(\d\d):(\d\d)", stream.getvalue())[-1]
    assert 60 * int(minutes) + int(seconds) >= 4  # two folds of a hundred took a fifth of a second

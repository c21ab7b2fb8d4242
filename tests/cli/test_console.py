"""Progress and output of commands: bars on a terminal, a line now and then elsewhere, silence when asked."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.markup import escape

from ensemble.cli import console as consoles
from ensemble.cli.console import PLAIN_FIRST, PLAIN_SECONDS, PLAIN_WIDTH, Output, SafeConsole
from ensemble.cli.tables import table


def test_notes_are_printed_or_in_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    for flags, expected in (({}, "  note    [x] is left out\n/here\n"), ({"quiet": True}, "/here\n")):
        output = Output(**flags)
        output.note("[x] is left out")
        output.result("/here", {"path": "/here"})
        assert capsys.readouterr().out == expected
    output = Output(as_json=True)
    output.note("[x] is left out")
    output.result("/here", {"path": "/here"})
    assert json.loads(capsys.readouterr().out) == {"notes": ["[x] is left out"], "path": "/here"}
    output.result("/here", {"notes": ["a list of the command"]})
    assert json.loads(capsys.readouterr().out) == {"notes": ["a list of the command"]}


def output_to(stream: io.StringIO, *, terminal: bool, quiet: bool = False, as_json: bool = False) -> Output:
    output = Output(quiet=quiet, as_json=as_json)
    output.progress_console = SafeConsole(file=stream, force_terminal=terminal, width=160, highlight=False)
    return output


def test_without_a_terminal_a_long_task_prints_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now, stream = [100.0], io.StringIO()
    monkeypatch.setattr(consoles.time, "monotonic", lambda: now[0])
    with output_to(stream, terminal=False).progress() as progress:
        for done in range(1, 11):
            progress("training [x]", done, 10, f"loss {done}")
            now[0] += PLAIN_SECONDS / 4
    assert stream.getvalue().splitlines() == [
        "training [x]: 2/10, ETA 0:00:40 loss 2",
        "training [x]: 6/10, ETA 0:00:20 loss 6",
        "training [x]: 10/10 loss 10",
    ]


def test_the_last_line_of_a_task_is_its_end_and_the_next_one_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now, stream = [100.0], io.StringIO()
    monkeypatch.setattr(consoles.time, "monotonic", lambda: now[0])
    with output_to(stream, terminal=False).progress() as progress:
        for seconds in (PLAIN_SECONDS, 2 * PLAIN_FIRST):
            for done, pause in ((1, seconds), (2, 0.5), (3, 1.0)):
                progress("training", done, 3)
                now[0] += pause
            progress("training", 3, 3)
    assert stream.getvalue().splitlines() == [
        "training: 2/3, ETA 0:00:20",
        "training: 3/3",
        "training: 2/3, ETA 0:00:04",
        "training: 3/3",
    ]


def test_a_short_task_prints_nothing_without_a_terminal() -> None:
    stream = io.StringIO()
    with output_to(stream, terminal=False).progress() as progress:
        progress("predicting", 1, 1)
    assert stream.getvalue() == ""


def test_on_a_terminal_every_task_has_a_bar() -> None:
    stream = io.StringIO()
    with output_to(stream, terminal=True).progress() as progress:
        for task in ("training fold 1", "predicting"):
            for done in (1, 2, 3):
                progress(task, done, 3, f"loss {done}")
    text = stream.getvalue()
    assert all(part in text for part in ("training fold 1", "predicting", "3/3", "loss 3", "ETA"))


@pytest.mark.parametrize(("quiet", "as_json"), [(True, False), (True, True)])
def test_quiet_draws_nothing_even_on_a_terminal(quiet: bool, as_json: bool) -> None:
    stream = io.StringIO()
    with output_to(stream, terminal=True, quiet=quiet, as_json=as_json).progress() as progress:
        progress("training", 1, 2)
    assert stream.getvalue() == ""


def test_the_outcome_is_a_line_or_a_document_and_the_rest_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    for quiet, as_json, expected in (
        (False, False, "hello\npath [red]\n"),
        (True, False, "path [red]\n"),
        (False, True, '{\n  "a": 1,\n  "notes": []\n}\n'),
        (True, True, '{\n  "a": 1,\n  "notes": []\n}\n'),
    ):
        output = Output(quiet=quiet, as_json=as_json)
        output.say("[bold]hello[/]")
        output.result("path [red]", {"a": 1})
        assert capsys.readouterr().out == expected
    assert json.loads(expected) == {"a": 1, "notes": []}  # pyright: ignore[reportPossiblyUnboundVariable]


@pytest.mark.parametrize(("columns", "width"), [("70", 70), ("", PLAIN_WIDTH)])
def test_a_pipe_has_the_width_that_the_environment_gives(
    columns: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert Output().console.width == width


# ---------------------------------------------------------------- names from files


def test_names_cannot_control_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = io.StringIO()
    console = SafeConsole(file=stream, force_terminal=True, width=100, highlight=False)
    evil = "rock\x1b[2J\x07\u202e\x9b31m"
    console.print(escape(evil))
    console.print(table("[red]title", ["", "[/]", evil], [["[bold]x", evil, "1"]]))
    shown = re.sub(r"\x1b\[[\d;]*m", "", stream.getvalue())  # rich's bold and italic
    assert not any(sign in shown for sign in "\x1b\x07\u202e\x9b")
    assert shown.count("rock\\x1b[2J") == 3
    assert "[red]title" in shown
    assert "[/]" in shown
    assert "[bold]x" in shown


def test_no_name_becomes_a_picture() -> None:
    stream = io.StringIO()
    console = SafeConsole(file=stream, width=100)
    console.print("study:b: 1/2", markup=False)
    console.print(table("a:b:", [":car:"], [[":b:"]]))
    assert stream.getvalue().split() == ["study:b:", "1/2", "a:b:", ":car:", ":b:"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("full", ["stdout", "stderr", "both"])
@pytest.mark.parametrize(
    ("command", "error"), [(("list", "recipes"), False), (("list", "nothing"), True), (("combine", "--bogus"), True)]
)
def test_output_to_a_full_disk_ends_with_status_2_and_no_traceback(
    command: tuple[str, ...], error: bool, full: str
) -> None:
    with Path("/dev/full").open("w") as disk:
        stdout, stderr = (disk if full in (name, "both") else subprocess.PIPE for name in ("stdout", "stderr"))
        line = [sys.executable, "-m", "ensemble", *command]
        done = subprocess.run(line, check=False, text=True, timeout=120, stdout=stdout, stderr=stderr)
    assert done.returncode == (0 if full == "stderr" and not error else 2)
    if full == "stdout":
        assert "Traceback" not in done.stderr
        assert "error" in done.stderr.lower()
        assert error or done.stderr == "error: cannot write the output: No space left on device; free disk space\n"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_character_that_the_terminal_cannot_show_never_raises(encoding: str, tmp_path: Path) -> None:
    name = "na\u00efve \u5ca9 \u2212.toml"
    command = [sys.executable, "-m", "ensemble", "study", str(tmp_path / name)]
    done = subprocess.run(
        command, capture_output=True, check=False, env=os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    )
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert rb"\u5ca9" in done.stderr.replace(b"\r\n", b"").replace(b"\n", b"")

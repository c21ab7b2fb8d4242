"""Errors suit both who calls from Python and who types a command: settings have their names, without dashes."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

import ensemble
from ensemble.cli import app

PACKAGE = Path(ensemble.__file__).parent
FILES = [
    path for path in sorted(PACKAGE.rglob("*.py")) if path.relative_to(PACKAGE).parts[0] not in ("cli", "experiments")
]


@cache
def options() -> frozenset[str]:
    """Return every long option of every command."""
    commands: Any = typer.main.get_command(app)
    leaves = [*commands.commands.values(), *commands.commands["data"].commands.values()]
    found: set[str] = set()
    for command in leaves:
        found |= {name for parameter in command.get_params(typer.Context(command)) for name in parameter.opts}
    return frozenset(name for name in found if name.startswith("--"))


def error_texts(path: Path) -> list[str]:
    """Return the texts of the errors that a file raises, without commands in backticks and additions in brackets."""
    texts: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            parts = [part.value for part in ast.walk(node.exc) if isinstance(part, ast.Constant)]
            text = " ".join(str(part) for part in parts if isinstance(part, str))
            texts.append(re.sub(r"`[^`]*`|\(--[^)]*\)", "", text))
    return texts


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_error_outside_of_the_command_line_names_an_option_with_dashes(path: Path) -> None:
    known = options()
    named = {name for text in error_texts(path) for name in re.findall(r"--[a-z][a-z-]*", text)}
    assert not named & known

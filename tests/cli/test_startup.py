"""The command line in a process of its own: fast to start, plain when piped, exit codes a shell sees."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MAIN = "from ensemble.cli import main; main()"
INVOKE = "from typer.testing import CliRunner; from ensemble.cli import app; CliRunner().invoke"
HEAVY = "import sys; print(sorted({'torch', 'pandas', 'cv2', 'sklearn', 'scipy', 'albumentations'} & set(sys.modules)))"


def python(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    )


@pytest.mark.parametrize(
    "code",
    [
        "import ensemble",
        "import ensemble; ensemble.EnsError",
        f"{INVOKE}(app, ['--help'])",
        f"{INVOKE}(app, ['train', '--help'])",
        f"{INVOKE}(app, ['data', '--help'])",
    ],
)
def test_nothing_heavy_is_imported_to_say_hello(code: str) -> None:
    result = python(f"{code}\n{HEAVY}")
    assert (result.returncode, result.stdout, result.stderr) == (0, "[]\n", "")


def test_the_functions_are_there_on_first_use() -> None:
    import ensemble
    from ensemble.combining.combine import combine
    from ensemble.inference.load import load
    from ensemble.training.train import train

    assert (ensemble.train, ensemble.combine, ensemble.load) == (train, combine, load)
    assert callable(ensemble.results.load)
    assert issubclass(ensemble.EnsError, ValueError)
    with pytest.raises(AttributeError, match="module 'ensemble' has no attribute 'trian'"):
        _ = ensemble.trian  # pyright: ignore


def test_a_mistake_is_one_line_and_exit_code_two() -> None:
    code = "import atexit, sys; atexit.register(lambda: print(sorted({'pandas', 'sklearn'} & set(sys.modules))))"
    result = python(f"{code}; {MAIN}", "train", "nowhere.npz", "--arch", "unet", "--loss", "ce", "--quiet")
    assert result.returncode == 2
    assert result.stdout == "[]\n"  # and no second was spent on importing what this mistake does not need
    assert result.stderr == (
        "error: there is no file or folder nowhere.npz; give an npz file, a folder of images and masks, a description"
        " (TOML), or 'sample'\n"
    )


def test_help_is_plain_when_piped() -> None:
    result = python(MAIN, "--help")
    assert result.returncode == 0
    assert "\x1b" not in result.stdout + result.stderr
    assert "quickstart" in result.stdout


def test_an_unknown_command_is_exit_code_two() -> None:
    result = python(MAIN, "trian")
    assert result.returncode == 2
    assert "trian" in result.stderr

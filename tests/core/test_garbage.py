"""Garbage is not searched for while libraries load, and is afterwards."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ensemble.core.garbage import collect_again, uncollected


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def test_inside_the_block_only() -> None:
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), uncollected():
        raise ImportError
    assert gc.isenabled()


def test_collecting_again_leaves_alone_what_exists() -> None:
    gc.unfreeze()
    collect_again()
    assert gc.get_freeze_count() == 0  # it was never switched off
    gc.disable()
    collect_again()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 10_000


def test_a_command_searches_from_its_progress_on() -> None:
    program = """
import gc, sys
from ensemble import cli
from ensemble.cli.console import Output

def probe():
    assert not gc.isenabled()
    with Output(quiet=True).progress():
        assert gc.isenabled()
    print("probed")

cli.app.command("probe")(probe)
sys.argv = ["ens", "probe"]
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("probed\n", "")

"""The public functions: one table, every name of it exists, and nothing is imported before it is used."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import ensemble

MAP = (Path(ensemble.__file__).parent / "__init__.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ensemble.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(ensemble, name).__doc__


@pytest.mark.parametrize("name", ensemble.__all__)
def test_no_room_takes_the_place_of_a_public_function(name: str) -> None:
    room = (Path(ensemble.__file__).parent / name).is_dir()
    assert not room or name == "results"  # the one public name that is a module


def test_the_three_lists_of_public_names_agree() -> None:
    block = MAP.split("if TYPE_CHECKING:\n")[1].split("\n\n")[0]
    typed = {name for names in re.findall(r"import (.+)", block) for name in names.split(", ")}
    assert typed == set(ensemble.__all__) == set(vars(ensemble)["_HOMES"])


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'ensemble' has no attribute 'predictt'"):
        _ = vars(ensemble)["__getattr__"]("predictt")


def test_importing_the_package_loads_neither_torch_nor_pandas() -> None:
    code = "import ensemble, sys; print(sorted({'torch', 'pandas', 'numpy'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"

"""Checkpoints: round trip, damage told in words, and nothing in them is ever run."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ensemble.core.errors import EnsError
from ensemble.training.checkpoint import load_checkpoint, save_checkpoint, save_weights


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint-f0.pt"
    state = {"epoch": 3, "network": {"w": torch.arange(600.0)}, "best": None, "history": [{"loss": 0.1, "val": None}]}
    save_checkpoint(path, state)
    return path


class Runs:
    """Runs a command when it is unpickled by a careless reader."""

    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.trap),)


def test_what_was_saved_comes_back(saved: Path) -> None:
    state = load_checkpoint(saved, "cpu")
    assert state is not None
    assert (state["epoch"], state["best"], state["history"]) == (3, None, [{"loss": 0.1, "val": None}])
    torch.testing.assert_close(state["network"]["w"], torch.arange(600.0), rtol=0, atol=0)
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_missing_file_gives_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "none.pt", "cpu") is None


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path, trap = tmp_path / "evil.pt", tmp_path / "trap"
    torch.save({"epoch": 1, "network": Runs(trap)}, path)
    with pytest.raises(EnsError, match=r"evil\.pt is damaged .*; delete it and repeat the command"):
        load_checkpoint(path, "cpu")
    assert not trap.exists()


@pytest.mark.parametrize("size", [0, 1, 100, -200, -1])
def test_a_truncated_checkpoint_is_reported_in_one_line(saved: Path, size: int) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[:size])
    with pytest.raises(EnsError, match=r"checkpoint-f0\.pt is damaged") as caught:
        load_checkpoint(saved, "cpu")
    assert len(str(caught.value).splitlines()) == 1


def test_a_flipped_bit_is_refused_or_changes_nothing(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    generator = random.Random(0)
    refused = 0
    for _ in range(150):
        position, bit = generator.randrange(len(content)), 1 << generator.randrange(8)
        content[position] ^= bit
        saved.write_bytes(content)
        try:
            state = load_checkpoint(saved, "cpu")
        except EnsError:  # any other error would be a traceback for the user
            refused += 1
        else:
            assert state is not None
            torch.testing.assert_close(state["network"]["w"], torch.arange(600.0), rtol=0, atol=0)
            assert state["epoch"] == 3
        content[position] ^= bit
    assert refused > 75


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(saved: Path) -> None:
    before = saved.read_bytes()
    with pytest.raises(AttributeError):
        save_checkpoint(saved, {"network": lambda: None})
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


@pytest.mark.skipif(os.name != "posix", reason="limits of files are a matter of POSIX")
def test_a_full_disk_is_reported_and_leaves_the_checkpoint_before(saved: Path) -> None:
    import resource

    before, limit = saved.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        with pytest.raises(
            EnsError, match=r"cannot write .*checkpoint-f0\.pt: File too large; choose another folder, or"
        ):
            save_checkpoint(saved, {"network": {"w": torch.zeros(100_000)}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_weights_are_plain_safetensors(tmp_path: Path) -> None:
    tensor = torch.arange(24.0).reshape(2, 3, 2, 2).to(memory_format=torch.channels_last)
    save_weights(tmp_path / "w.safetensors", {"w": tensor})
    torch.testing.assert_close(load_file(tmp_path / "w.safetensors")["w"], tensor, rtol=0, atol=0)


def test_shared_weights_are_written_for_each_layer(tmp_path: Path) -> None:
    first, whole = nn.Conv2d(2, 2, 1), torch.arange(6.0)
    state = nn.ModuleDict({"a": first, "b": first}).state_dict() | {"left": whole[:3], "right": whole[3:]}
    save_weights(tmp_path / "w.safetensors", state)
    found = load_file(tmp_path / "w.safetensors")
    assert sorted(found) == ["a.bias", "a.weight", "b.bias", "b.weight", "left", "right"]
    assert all(torch.equal(found[name], state[name]) for name in state)

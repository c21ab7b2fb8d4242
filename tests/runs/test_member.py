"""A member on disk: what it tells, and how missing, damaged, unfinished and newer ones are refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ensemble.core.errors import EnsError
from ensemble.core.files import file_digest, read_json, sealed, write_json
from ensemble.inference.network import load_networks
from ensemble.runs.folder import find_members
from ensemble.runs.layout import CHECKED
from ensemble.runs.member import Member
from ensemble.runs.status import read_status

WEIGHTS = "weights-f0.safetensors"


@pytest.fixture
def path(tiny_runs: Path, tmp_path: Path) -> Path:
    """A copy of a trained member that a test may damage."""
    (source,) = (tiny_runs / "members").glob("unet-baseline-ce-*")
    return Path(shutil.copytree(source, tmp_path / "runs" / "members" / source.name))


def change_status(path: Path, **changes: object) -> None:
    write_json(path / "status.json", sealed(read_json(path / "status.json") | changes))


def accept(path: Path, name: str) -> None:
    """Record the present content of a file as what was written."""
    change_status(path, files=read_json(path / "status.json")["files"] | {name: file_digest(path / name)})


def test_a_member_tells_what_it_is(path: Path) -> None:
    member = Member.open(path)
    assert member.name == path.name
    assert (member.settings.architecture.name, member.settings.loss.name) == ("unet-baseline", "ce")
    options = member.settings.architecture.options
    assert options == options | {"filters": 2, "depth": 1}
    assert (member.settings.epochs, member.settings.precision, member.settings.device) == (2, "fp32", "cpu")
    assert (member.facts.name, member.facts.classes) == ("tiny.npz", ("soil", "rock", "ripples"))
    assert member.status["state"] == "complete"
    assert member.confusions().shape == (member.scores["images"], 3, 3)
    assert [member.has_store(split) for split in ("validation", "test", "other")] == [True, True, False]
    assert member.store("test").n == 5
    (network,) = load_networks(member)
    assert not network.training
    assert sum(parameter.numel() for parameter in network.parameters()) == member.status["parameters"]


def test_a_moved_member_is_the_same_member(path: Path, tmp_path: Path) -> None:
    member = Member.open(path)
    before = (member.settings, member.facts, member.scores)
    moved = Member.open(path.rename(tmp_path / path.name))
    assert (moved.settings, moved.facts, moved.scores) == before


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            None,
            "has lost its status.json, so nobody knows what it should hold; remove it with `ens remove unet-baseline",
        ),
        ("", "status.json cannot be read"),
        ('{"state": "comp', "status.json cannot be read"),
        ("\udcff", "status.json cannot be read"),
        ("[]", "status.json is damaged (no format_version); remove it with `ens remove unet-baseline"),
        ("{}", "status.json is damaged (no format_version); remove it with `ens remove unet-baseline"),
        ('{"format_version": "1"}', "status.json is damaged (no format_version)"),
        ('{"format_version": 99}', "has format 99, but this version reads formats 1 and 2; upgrade ens-toolkit"),
        ('{"format_version": 1, "kind": "member", "state": "training"}', "is not finished (state 'training'); repeat"),
        ('{"format_version": 1, "kind": "member"}', "is not finished (state 'None'); repeat its train command"),
        ('{"format_version": 2, "kind": "member", "state": "complete"}', "status.json differs from what was written"),
        ('{"format_version": 1, "kind": "member", "state": "complete"}', "config.json differs from what was written"),
        (
            '{"format_version": 1, "kind": "ensemble", "state": "complete"}',
            "expected a member, got the ensemble",
        ),
    ],
)
def test_a_status_that_is_none(path: Path, content: str | None, text: str) -> None:
    (path / "status.json").unlink()
    if content is not None:
        (path / "status.json").write_text(content, errors="surrogateescape")
    with pytest.raises(EnsError, match=re.escape(text)) as caught:
        Member.open(path)
    assert str(path) in str(caught.value)


def test_nothing_at_all(tmp_path: Path) -> None:
    with pytest.raises(EnsError, match=r"expected the directory .*nowhere, which is none; check the path"):
        Member.open(tmp_path / "nowhere")


@pytest.mark.parametrize("name", CHECKED["member"])
def test_a_missing_file_is_named(path: Path, name: str) -> None:
    (path / name).unlink()
    with pytest.raises(EnsError, match=rf"{name} is missing; remove it with `ens remove .* and train it again"):
        Member.open(path)


@pytest.mark.parametrize("name", CHECKED["member"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "emptied"])
def test_a_damaged_file_is_named(path: Path, name: str, damage: str) -> None:
    content = bytearray((path / name).read_bytes())
    content[len(content) // 2] ^= 4
    (path / name).write_bytes({"truncated": content[:-1], "flipped": content, "emptied": b""}[damage])
    with pytest.raises(
        EnsError, match=rf"{name} differs from what was written \(damaged or edited\); remove it .* and train it again"
    ):
        Member.open(path)


def test_weights_are_checked_when_they_are_loaded(path: Path) -> None:
    member, content = Member.open(path), (path / WEIGHTS).read_bytes()
    (path / WEIGHTS).write_bytes(content[:-8])
    with pytest.raises(EnsError, match=rf"{WEIGHTS} differs from what was written"):
        load_networks(member)
    (path / WEIGHTS).unlink()
    with pytest.raises(EnsError, match=rf"{WEIGHTS} is missing"):
        load_networks(member)


@pytest.mark.parametrize("kind", ["other tensors", "no safetensors", "missing tensor"])
def test_weights_of_another_network_are_refused(path: Path, kind: str) -> None:
    if kind == "no safetensors":
        (path / WEIGHTS).write_bytes(b"weights")
    elif kind == "other tensors":
        save_file({"w": torch.zeros(2)}, path / WEIGHTS)
    else:
        state = dict(load_networks(Member.open(path))[0].state_dict())
        state.pop("mean_c")
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path / WEIGHTS)
    accept(path, WEIGHTS)
    with pytest.raises(
        EnsError, match=rf"{WEIGHTS} cannot be read as the weights of this member \(.+\); train it again"
    ):
        load_networks(Member.open(path))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"settings": None}, "config.json is not a valid configuration: "),
        (
            {"settings": {"architecture": {"name": "unet"}}},
            "config.json is not a valid configuration: expected a value for loss",
        ),
        ({"data": {"name": "x"}}, "config.json is not a valid configuration: expected a value for data_hash"),
    ],
)
def test_a_configuration_that_does_not_fit_is_named(path: Path, change: dict[str, object], text: str) -> None:
    write_json(path / "config.json", read_json(path / "config.json") | change)
    accept(path, "config.json")
    with pytest.raises(EnsError, match=re.escape(text)):
        Member.open(path)


def test_a_configuration_with_an_unknown_field_is_refused(path: Path) -> None:
    content = read_json(path / "config.json")
    content["settings"]["momentum"] = 0.9
    write_json(path / "config.json", content)
    accept(path, "config.json")
    with pytest.raises(EnsError, match=r"unknown setting 'momentum'"):
        Member.open(path)


def test_a_store_that_lost_a_chunk_is_named(path: Path) -> None:
    (chunk,) = (path / "probabilities" / "validation").glob("chunk-*")
    chunk.unlink()
    with pytest.raises(EnsError, match=rf"{chunk.name} is missing from the probability store"):
        Member.open(path).store()
    with pytest.raises(EnsError, match="train"):
        Member.open(path).store("training")


def test_no_pickle_is_loaded_from_the_confusions(path: Path) -> None:
    np.savez(path / "confusions.npz", confusions=np.array([{"a": 1}], dtype=object))
    accept(path, "confusions.npz")
    with pytest.raises(EnsError, match=r"holds Python objects under .confusions., which are never loaded"):
        Member.open(path).confusions()


def test_finished_members_are_found_oldest_first(make_member: Callable[..., Member], tmp_path: Path) -> None:
    late = make_member(tmp_path, "unet", seed=1, finished="2026-11-03T00:00:00+00:00")
    early = make_member(tmp_path, "unet", seed=2, finished="2026-11-02T00:00:00+00:00")
    unfinished = make_member(tmp_path, "unet", seed=3, finished="2026-11-01T00:00:00+00:00")
    change_status(unfinished.path, state="interrupted")
    (tmp_path / "members" / "notes").mkdir()
    assert list(find_members(tmp_path)) == [early.path, late.path]
    assert list(find_members(tmp_path / "nowhere")) == []


def test_a_newer_member_among_others_is_not_passed_over_in_silence(
    make_member: Callable[..., Member], tmp_path: Path
) -> None:
    change_status(make_member(tmp_path, "unet").path, format_version=3)
    with pytest.raises(EnsError, match="has format 3"):
        find_members(tmp_path)


def test_the_status_is_plain_json(path: Path) -> None:
    assert json.loads((path / "status.json").read_text()) == read_status(path)

"""Joining a Ray cluster: wrong addresses are refused at once, members get the room they were planned for."""

from __future__ import annotations

import socket
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from ensemble.cli import app
from ensemble.core.errors import EnsError
from ensemble.study.jobs import Job
from ensemble.study.ray.connect import connect, needs

# ---------------------------------------------------------------- joining a cluster


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EnsError, match=r"the package ray cannot be imported .* run `pip install 'ens-toolkit\[ray\]'`"):
        connect("10.0.0.1:6379")


class FakeRay:
    """Stands for the module ``ray`` where no cluster is needed."""

    def __init__(self) -> None:
        self.joined: list[str] = []

    def is_initialized(self) -> bool:
        return False

    def init(self, address: str, **_: Any) -> None:
        self.joined.append(address)


@pytest.fixture
def fake_ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    """The module ``ray`` replaced; a trial in a separate process works."""
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ensemble.study.ray.connect.JOIN", "")
    return fake


def test_the_environment_names_the_cluster(fake_ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(None)
    assert fake_ray.joined == ["auto"]
    monkeypatch.setenv("RAY_ADDRESS", "nowhere")
    with pytest.raises(EnsError, match=r"as HOST:PORT, such as 10\.0\.0\.1:6379, or 'auto', got 'nowhere'"):
        connect(None)


def test_wrong_addresses_are_refused_at_once(fake_ray: FakeRay) -> None:
    started = time.monotonic()
    for address in ("ray://10.0.0.1:10001", "head", "head:port", ":6379"):
        with pytest.raises(EnsError, match="expected the address of a Ray cluster as HOST:PORT"):
            connect(address)
    for address in ("127.0.0.1:1", "127.0.0.1:99999", "no.such.host.invalid:6379"):
        with pytest.raises(EnsError, match=f"expected a Ray cluster at {address}, but nobody answers"):
            connect(address)
    assert fake_ray.joined == []
    assert time.monotonic() - started < 20


def test_a_cluster_that_cannot_be_joined_is_one_sentence(fake_ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = "import sys; sys.exit('Traceback\\n...\\nRuntimeError: Version mismatch: 2.50 and 2.60.')"
    monkeypatch.setattr("ensemble.study.ray.connect.JOIN", failing)
    with pytest.raises(EnsError, match=r"join the Ray cluster at auto .RuntimeError: Version mismatch: 2.50 and 2.60"):
        connect("auto")
    monkeypatch.setattr("ensemble.study.ray.connect.JOIN_SECONDS", 0.5)
    monkeypatch.setattr("ensemble.study.ray.connect.JOIN", "import time; time.sleep(60)")
    with socket.create_server(("127.0.0.1", 0)) as server:  # it answers, but is no cluster
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(EnsError, match=f"cluster at {address} .no answer within 0 s; another program may use"):
            connect(address)
    assert fake_ray.joined == []


@pytest.mark.parametrize(
    ("machine", "asked", "nodes", "wanted"),
    [
        ("cpu", {}, [{"CPU": 2}, {"CPU": 4}], ("cpu", {"num_cpus": 4, "num_gpus": 0})),
        ("cuda", {}, [{"CPU": 2}, {"CPU": 2, "GPU": 1}], ("cuda", {"num_cpus": 0, "num_gpus": 1})),
        ("cuda", {"device": "cpu"}, [{"CPU": 4, "GPU": 1}], ("cpu", {"num_cpus": 4, "num_gpus": 0})),
        ("cpu", {"device": "cpu"}, [{"CPU": 4, "GPU": 1}], ("cpu", {"num_cpus": 4, "num_gpus": 0})),
        ("cuda", {}, [{"CPU": 8}], "planned for a GPU because this machine has one, but no node"),
        ("cpu", {}, [{"CPU": 8}, {"CPU": 8, "GPU": 2}], "has GPUs, but 'one' is planned for the CPU"),
        ("cpu", {}, [{"CPU": 2}, {"CPU": 2}], "expected a node with 4 CPUs for members of 4 threads, but the largest"),
        ("cpu", {}, [], "has 0; give fewer threads"),
    ],
)
def test_members_get_the_room_they_were_planned_for(
    machine: str, asked: dict[str, str], nodes: Any, wanted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choose(device: str, precision: str) -> SimpleNamespace:
        assert precision == "auto"
        return SimpleNamespace(device=machine if device == "auto" else device, precision="bf16")

    monkeypatch.setattr("ensemble.inference.hardware.choose_hardware", choose)
    one = Job("one", "unet-ce-s0-000000", {"arch": "unet", **asked})
    if isinstance(wanted, str):
        with pytest.raises(EnsError, match=wanted):
            needs(one, 4, nodes)
        return
    pinned, room = needs(one, 4, nodes)
    assert pinned.arguments == {"arch": "unet", "device": wanted[0], "precision": "bf16"}
    assert room == wanted[1]


# ---------------------------------------------------------------- the command


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--executor", "rai"], "unknown executor 'rai'; did you mean 'ray'? Known: local, ray"),
        (["--ray-address", "10.0.0.1:6379"], "--ray-address needs --executor ray; add it"),
    ],
)
def test_mistakes_on_the_command_line(given: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["study", "seeds", *given])
    assert result.exit_code == 2
    assert message in result.stderr

"""Networks that do not fit into the memory end in one sentence, wherever that is found."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ensemble.architectures import ARCHITECTURES
from ensemble.config import TrainSettings
from ensemble.core.errors import EnsError
from ensemble.inference import memory, network
from ensemble.inference.memory import check_network_memory, enough_memory, training_bytes
from ensemble.training import plan as plan_module
from ensemble.training.plan import plan_member


@pytest.fixture(autouse=True)
def _eight_gb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 8 * 10**9)


def plan(data: Path, out: Path, arch: str) -> Any:
    return plan_member(TrainSettings(data=str(data), arch=arch, loss="ce", device="cpu"), out)


@pytest.mark.parametrize("filters", [2000, 100_000])  # some machines would try the first, no machine the second
def test_a_plan_refuses_a_network_that_is_too_large(tiny_npz: Path, tmp_path: Path, filters: int) -> None:
    with pytest.raises(
        EnsError, match=r"too large for the memory: building its [\d,]+ million weights needs at least .*"
    ):
        plan(tiny_npz, tmp_path / "runs", f"unet(filters={filters})")
    assert not (tmp_path / "runs").exists()


def test_a_network_with_an_encoder_is_found_too_large_before_it_is_built(
    tiny_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 30_000_000)
    with pytest.raises(EnsError, match=r"too large for the memory: building its 11 million weights needs at least"):
        plan(tiny_npz, tmp_path, "linknet")


@pytest.mark.parametrize("arch", ["unet(filters=3, depth=2)", "pspnet"])  # pspnet removes weights that it never uses
def test_weights_are_counted_as_they_are_built(tiny_npz: Path, tmp_path: Path, arch: str) -> None:
    made = plan(tiny_npz, tmp_path, arch)
    built = network.build_network(made.settings, made.facts)
    assert made.parameters == sum(weights.numel() for weights in built.parameters())


def test_a_plan_refuses_what_can_be_built_but_not_trained(
    tiny_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = plan(tiny_npz, tmp_path, "unet(filters=3, depth=2)").parameters * 20  # AdamW
    monkeypatch.setattr(memory, "free_memory", lambda: needed - 1)
    with pytest.raises(EnsError, match=r"too large for the memory: training its 0 million weights needs at least"):
        plan(tiny_npz, tmp_path, "unet(filters=3, depth=2)")


def test_twenty_bytes_per_weight_with_adamw() -> None:
    check_network_memory(4 * 10**8, "cpu", training=training_bytes(4 * 10**8, 4 * 10**8, moments=2))
    text = (
        r"training its 401 million weights needs at least 8.02 GB, but 8 GB are free; choose a smaller network \(fewer"
        r" filters, less depth\) or a machine with more memory$"
    )
    more = 4 * 10**8 + 10**6
    with pytest.raises(EnsError, match=text):
        check_network_memory(more, "cpu", training=training_bytes(more, more, moments=2))


def test_the_network_that_was_counted_is_gone_when_memory_is_checked(
    tiny_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[Any] = []
    build = plan_module.build_within_memory

    def built(*given: Any) -> Any:
        made = build(*given)
        counted.append(weakref.ref(made))
        return made

    monkeypatch.setattr(plan_module, "build_within_memory", built)
    monkeypatch.setattr(plan_module, "check_network_memory", lambda *_, **__: counted.append(counted[0]()))
    plan(tiny_npz, tmp_path, "unet(filters=3, depth=2)")
    assert counted[1:] == [None]


def really_too_much() -> None:
    torch.empty(2**58)


def beyond_64_bits() -> None:
    torch.empty(2**40, 2**40)


def fail(error: Exception) -> Callable[[], None]:
    def run() -> None:
        raise error

    return run


@pytest.mark.parametrize(
    ("ask", "needs"),
    [
        (really_too_much, "it needs another 1,152,921,505 GB"),
        (beyond_64_bits, "it needs more memory"),
        (fail(MemoryError()), "it needs more memory"),
        (fail(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")), "it needs another 21.5 GB"),
    ],
)
def test_every_error_about_memory_is_one_sentence(ask: Callable[[], None], needs: str) -> None:
    with pytest.raises(EnsError) as caught, enough_memory():
        ask()
    start = f"this network is too large for the memory: {needs}, but "
    assert str(caught.value).startswith(start)
    assert " GB are free; choose a smaller network (fewer filters" in str(caught.value)


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes differ"), enough_memory():
        raise RuntimeError("shapes differ")


def test_a_network_that_needs_real_numbers_is_counted_too(
    monkeypatch: pytest.MonkeyPatch, tiny_npz: Path, tmp_path: Path
) -> None:
    create = ARCHITECTURES.create

    def real(*args: Any, **options: Any) -> Any:
        float(torch.zeros(1))  # no number on the device "meta"
        return create(*args, **options)

    expected = plan(tiny_npz, tmp_path, "unet(filters=3, depth=2)").parameters
    monkeypatch.setattr(ARCHITECTURES, "create", real)
    assert plan(tiny_npz, tmp_path, "unet(filters=3, depth=2)").parameters == expected


@pytest.mark.parametrize("arch", [name for name in ARCHITECTURES if name != "segformer"])  # its encoder reads a number
def test_a_network_without_numbers_has_at_least_as_many_weights(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.Conv2d, "forward", lambda *_: pytest.fail("it computed something"))
    with network.without_numbers():
        counted = network.count_parameters(ARCHITECTURES.create(arch, 1, 4))
    monkeypatch.undo()
    assert counted >= network.count_parameters(ARCHITECTURES.create(arch, 1, 4)) > 1000

"""Device, precision and threads of a run, and the errors of wrong requests."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from ensemble.core.errors import EnsError, UnknownName
from ensemble.inference.hardware import (
    autocast,
    bf16_units,
    choose_hardware,
    code_revision,
    environment,
    torch_threads,
)


def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def units(monkeypatch: pytest.MonkeyPatch, **flags: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)


def test_auto_is_the_cpu_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    no_gpu(monkeypatch)
    hardware = choose_hardware()
    assert hardware.device == "cpu"
    assert hardware.threads == torch.get_num_threads()


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (True, False, "cuda")]
)
def test_auto_prefers_a_gpu(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    hardware = choose_hardware()
    assert (hardware.device, hardware.precision) == (expected, "fp32")


@pytest.mark.parametrize(
    ("flags", "precision", "reason"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, "bf16", "the CPU has amx_bf16 and avx512_bf16"),
        ({"avx512_bf16": True}, "bf16", "the CPU has avx512_bf16"),
        ({"avx2": True, "amx_bf16": False}, "fp32", "the CPU has neither AMX nor AVX512-BF16"),
    ],
)
def test_precision_follows_the_units_and_says_why(
    monkeypatch: pytest.MonkeyPatch, flags: dict[str, bool], precision: str, reason: str
) -> None:
    units(monkeypatch, **flags)
    hardware = choose_hardware("cpu")
    assert (hardware.precision, hardware.reason) == (precision, reason)


def test_a_precision_asked_for_is_used_and_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    units(monkeypatch)
    hardware = choose_hardware("cpu", "bf16")
    assert hardware.precision == "bf16"
    assert hardware.reason == "set by the user (the CPU has neither AMX nor AVX512-BF16)"


def test_gpu_units_are_asked_without_emulation(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def supported(**how: Any) -> bool:
        asked.update(how)
        return True

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert bf16_units("cuda") == (True, "the GPU has bf16 units")
    assert asked == {"including_emulation": False}
    assert bf16_units("mps")[0] is False


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    no_gpu(monkeypatch)
    with pytest.raises(EnsError, match="torch finds no cuda device on this machine; use device cpu"):
        choose_hardware("cuda")


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(UnknownName, match=re.escape("unknown device 'cudo'; did you mean 'cuda'?")):
        choose_hardware("cudo")
    with pytest.raises(UnknownName, match=re.escape("unknown precision 'bf61'; did you mean 'bf16'?")):
        choose_hardware("cpu", "bf61")


def test_threads_are_set_for_the_block_only() -> None:
    before = torch.get_num_threads()

    def fail() -> None:
        with torch_threads(before + 1):
            assert torch.get_num_threads() == before + 1
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert torch.get_num_threads() == before


def test_autocast_only_for_bf16() -> None:
    layer, image = torch.nn.Conv2d(1, 2, 1), torch.zeros(1, 1, 4, 4)
    with autocast("cpu", "fp32"):
        assert layer(image).dtype == torch.float32
    with autocast("cpu", "bf16"):
        assert layer(image).dtype == torch.bfloat16


def test_the_environment_holds_versions_and_revision() -> None:
    found = environment()
    assert found["packages"]["torch"] == torch.__version__.partition("+")[0] or torch.__version__
    assert {"python", "platform", "cpu", "cores", "gpu", "revision", "packages"} <= set(found)
    assert found["cpu"]
    revision = code_revision()
    assert revision is None or re.fullmatch("[0-9a-f]{40}", revision)

"""Choose device, precision and threads, and describe the machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, cast, get_args

import torch

from ensemble.config import Precision
from ensemble.core.errors import EnsError, UnknownName

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", *get_args(Precision))
PACKAGES = (
    "torch",
    "torchvision",
    "segmentation-models-pytorch",
    "timm",
    "albumentations",
    "numpy",
    "pandas",
    "ens-toolkit",
)


@dataclass(frozen=True)
class Hardware:
    """Device, precision and threads of a run; ``reason`` explains the precision."""

    device: str
    precision: Precision
    threads: int
    reason: str


def choose_hardware(device: str = "auto", precision: str = "auto") -> Hardware:
    """Resolve ``auto``: a GPU if there is one; bf16 if the device multiplies it in hardware.

    Raises:
        EnsError: the device does not exist on this machine, or a name is unknown.
    """
    for kind, name, known in (("device", device, DEVICES), ("precision", precision, PRECISIONS)):
        if name not in known:
            raise UnknownName(kind, name, known)
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if present[name])
    if not present[device]:
        raise EnsError(f"torch finds no {device} device on this machine; use device cpu, or install its driver")
    fast, why = bf16_units(device)
    resolved = ("bf16" if fast else "fp32") if precision == "auto" else precision
    reason = why if precision == "auto" else f"set by the user ({why})"
    return Hardware(device, cast(Precision, resolved), torch.get_num_threads(), reason)


def bf16_units(device: str) -> tuple[bool, str]:
    """Return whether bf16 products run in hardware on ``device``, and the reason in words."""
    if device == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return fast, f"the GPU {'has' if fast else 'lacks'} bf16 units"
    if device == "mps":
        return False, "bf16 autocast is not used on mps"
    capabilities = cast(dict[str, Any], torch.cpu.get_capabilities())
    units = [name for name in ("amx_bf16", "avx512_bf16") if capabilities.get(name)]
    return bool(units), f"the CPU has {' and '.join(units)}" if units else "the CPU has neither AMX nor AVX512-BF16"


@contextmanager
def torch_threads(threads: int | None) -> Generator[None]:
    """Run the block with this number of torch threads, which changes bits; None keeps the current number."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def autocast(device: str, precision: Precision) -> torch.autocast:
    """Return a context that computes in bf16, or that does nothing for fp32."""
    return torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16")


def cpu_name() -> str:
    """Return the model name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def environment() -> dict[str, Any]:
    """Return versions, processor and code revision, which help to explain a number later."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "revision": code_revision(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


@cache
def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def code_revision() -> str | None:
    """Return the commit of the checkout that this package runs from, or None for an installed wheel."""
    git = Path(__file__).resolve().parents[2] / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        if (git / name).is_file():
            return (git / name).read_text().strip()
        packed = (line.split() for line in (git / "packed-refs").read_text().splitlines())
        return next((words[0] for words in packed if words[1:] == [name]), None)
    except OSError:
        return None

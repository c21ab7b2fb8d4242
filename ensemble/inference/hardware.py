"""The machine: which device, which precision and why, how many threads."""

from __future__ import annotations

import os
import platform
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, cast

import torch

from ensemble.config import Precision
from ensemble.core.errors import EnsError, UnknownName

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16")
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
    """What a run computes on; ``reason`` says why this precision."""

    device: str
    precision: Precision
    threads: int
    reason: str


def choose_hardware(device: str = "auto", precision: str = "auto") -> Hardware:
    """Resolve ``auto``: a GPU where there is one; bf16 where the device multiplies it in hardware.

    Raises:
        EnsError: a device that is not there, or a name that is none.
    """
    for kind, name, known in (("device", device, DEVICES), ("precision", precision, PRECISIONS)):
        if name not in known:
            raise UnknownName(kind, name, known)
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if present[name])
    if not present[device]:
        raise EnsError(f"expected a {device} device, but torch finds none here; use --device cpu or install its driver")
    fast, why = bf16_units(device)
    chosen = ("bf16" if fast else "fp32") if precision == "auto" else precision
    reason = why if precision == "auto" else f"asked for ({why})"
    return Hardware(device, cast(Precision, chosen), torch.get_num_threads(), reason)


def bf16_units(device: str) -> tuple[bool, str]:
    """Whether bf16 products run in hardware on ``device``, and the sentence that says so."""
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
    """Run the block with this many threads, because the number changes bits; with those there are where None."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def autocast(device: str, precision: Precision | Literal["fp32", "bf16"]) -> torch.autocast:
    """Autocast to bf16, or a context that does nothing for fp32."""
    return torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16")


def cpu_name() -> str:
    """Model name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def environment() -> dict[str, Any]:
    """Versions, processor and revision of the code: what one needs to explain a number later."""
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


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def code_revision() -> str | None:
    """Commit of the checkout this package runs from, read from its ``.git``, or None for an installed wheel."""
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

"""``ens doctor``: the machine and the libraries, and what training will use."""

from __future__ import annotations

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Quiet

EXAMPLE = "Example:  ens doctor"


def doctor(quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Versions, CPU features, threads, GPU, and the precision that will be used and why."""
    output = Output(quiet=quiet, as_json=as_json)
    import psutil
    import torch

    from ensemble.cli.tables import table
    from ensemble.inference.hardware import choose_hardware, environment

    hardware, found = choose_hardware(), environment()
    flags = torch.cpu.get_capabilities()
    vectors = [name for name in ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "amx_int8") if flags.get(name)]
    memory = psutil.virtual_memory()
    content = {
        **found,
        "cpu_features": vectors,
        "threads": hardware.threads,
        "memory_gb": round(memory.total / 1e9, 1),
        "memory_free_gb": round(memory.available / 1e9, 1),
        "device": hardware.device,
        "precision": hardware.precision,
        "reason": hardware.reason,
    }
    if as_json:
        output.result("", content)
        return
    rows = [
        ("python", found["python"]),
        ("platform", found["platform"]),
        (
            "cpu",
            f"{found['cpu']}, {found['cores']} cores, {hardware.threads} threads; {', '.join(vectors) or 'no AVX2'}",
        ),
        ("memory", f"{content['memory_gb']} GB, {content['memory_free_gb']} GB free"),
        ("gpu", found["gpu"] or "none"),
        ("trains on", hardware.device),
        ("precision", f"{hardware.precision}: {hardware.reason}"),
        *((name, version or "not installed") for name, version in found["packages"].items()),
    ]
    output.console.print(table("", ("", ""), rows, left=2))

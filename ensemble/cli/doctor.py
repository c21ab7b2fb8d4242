"""``ens doctor``: show the machine, the libraries, and what training will use."""

from __future__ import annotations

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Quiet

EXAMPLE = "Example:  ens doctor"


def doctor(quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Show versions, CPU features, threads, GPU, and the precision of training with its reason."""
    output = Output(quiet=quiet, as_json=as_json)
    import psutil
    import torch

    from ensemble.cli.tables import table
    from ensemble.inference.hardware import choose_hardware, environment

    hardware, machine = choose_hardware(), environment()
    flags = torch.cpu.get_capabilities()
    vectors = [name for name in ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "amx_int8") if flags.get(name)]
    memory = psutil.virtual_memory()
    content = {
        **machine,
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
        ("python", machine["python"]),
        ("platform", machine["platform"]),
        ("cpu", f"{machine['cpu']}, {machine['cores']} cores, {hardware.threads} threads"),
        ("cpu features", ", ".join(vectors) or "no AVX2"),
        ("memory", f"{content['memory_gb']} GB, {content['memory_free_gb']} GB free"),
        ("gpu", machine["gpu"] or "none"),
        ("trains on", hardware.device),
        ("precision", f"{hardware.precision}: {hardware.reason}"),
        *((name, version or "not installed") for name, version in machine["packages"].items()),
    ]
    output.console.print(table("", ("", ""), rows, left=2))

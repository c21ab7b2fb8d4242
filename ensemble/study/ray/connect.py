"""Join a running Ray cluster, and find out how many members it has room for."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ensemble.core.errors import EnsError
from ensemble.study.jobs import Job

CONNECT_SECONDS = 5.0
JOIN_SECONDS = 60.0
JOIN = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='CRITICAL')"
HOW_TO_START = "start one with `ray start --head` there, and `ray start --address HOST:PORT` on every other node"


def connect(address: str | None = None) -> Any:
    """Join the cluster at ``address`` and return the module ``ray``.

    Args:
        address: ``HOST:PORT``, or ``auto`` for the cluster of this machine. The default is the environment variable
            ``RAY_ADDRESS``, else ``auto``.

    Raises:
        EnsError: Ray is not installed, there is no answer, or this machine cannot join the cluster.
    """
    try:
        import ray  # noqa: PLC0415  (an extra)
    except ModuleNotFoundError as error:
        raise EnsError(
            f"the package ray cannot be imported (no module '{error.name}'); run `pip install 'ens-toolkit[ray]'`"
        ) from None
    if ray.is_initialized():
        return ray
    address = address or os.environ.get("RAY_ADDRESS") or "auto"
    if address != "auto":
        _check_address(address)
    if reason := _reason_not_to_join(address):
        raise EnsError(
            f"cannot join the Ray cluster at {address} ({reason}); this machine must be a node of a running cluster"
            " with the same versions of Ray and Python everywhere: `ray start --head` starts a cluster,"
            " `ray start --address HOST:PORT` joins one (with --num-cpus 0 this machine trains no members)"
        )
    ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    return ray


def _check_address(address: str) -> None:
    """Refuse a text that is no address, and an address without an answer."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise EnsError(
            f"expected the address of a Ray cluster as HOST:PORT, such as 10.0.0.1:6379, or 'auto', got '{address}'"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise EnsError(f"expected a Ray cluster at {address}, but nobody answers ({error}); {HOW_TO_START}") from None


def _reason_not_to_join(address: str) -> str:
    """Try to join in a separate process and return why it failed; the empty text means that it worked.

    If the server at the address is no Ray cluster, ``ray.init`` waits for minutes and then ends its own process.
    """
    command = [sys.executable, "-P", "-c", JOIN, address]
    try:
        trial = subprocess.run(command, check=False, capture_output=True, text=True, timeout=JOIN_SECONDS)
    except subprocess.TimeoutExpired:
        return f"no answer within {JOIN_SECONDS:.0f} s; another program may use this address"
    return "" if trial.returncode == 0 else (trial.stderr.strip().splitlines() or ["no message"])[-1].rstrip(".")


def needs(job: Job, threads: int, nodes: Sequence[Mapping[str, float]]) -> tuple[Job, dict[str, float]]:
    """Return the job with its planned device and precision, and the resources that Ray must reserve for it.

    If a node chose device and precision itself, it could choose differently and train another member.

    Args:
        job: a job whose device and precision may be ``auto``, which means the choice of this machine.
        threads: threads of the member.
        nodes: the resources of every node, such as ``{"CPU": 8.0, "GPU": 1.0}``.

    Raises:
        EnsError: no node has room for the job, or GPUs would stay unused because this machine has none.
    """
    from ensemble.inference.hardware import choose_hardware  # noqa: PLC0415  (torch takes two seconds)

    arguments = job.arguments
    hardware = choose_hardware(arguments.get("device", "auto"), arguments.get("precision", "auto"))
    pinned = replace(job, arguments={**arguments, "device": hardware.device, "precision": hardware.precision})
    most = {kind: max((node.get(kind, 0.0) for node in nodes), default=0.0) for kind in ("CPU", "GPU")}
    if hardware.device == "cuda":
        if most["GPU"] < 1:
            raise EnsError(
                f"'{job.label}' is planned for a GPU because this machine has one, but no node of the Ray cluster has"
                ' one; set device = "cpu" in the recipe'
            )
        return pinned, {"num_gpus": 1, "num_cpus": 0}
    if most["GPU"] >= 1 and arguments.get("device", "auto") == "auto":
        raise EnsError(
            f"the Ray cluster has GPUs, but '{job.label}' is planned for the CPU because this machine has no GPU; start"
            ' the study on a node with a GPU, or set device = "cpu" in the recipe'
        )
    if most["CPU"] < threads:
        raise EnsError(
            f"expected a node with {threads} CPUs for members of {threads} threads, but the largest node of the Ray"
            f" cluster has {most['CPU']:.0f}; give fewer threads"
        )
    return pinned, {"num_gpus": 0, "num_cpus": threads}

"""A Ray cluster that runs already: joining it within seconds, and what it has room for."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ensemble.core.errors import EnsError
from ensemble.study.jobs import Job

CONNECT = 5.0  # seconds that a head has to answer
# What every gRPC server, Ray's too, answers at once: the preface of HTTP/2 and empty settings (RFC 9113, 3.4).
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
SETTINGS = 4  # type of the frame that a server must answer with

START = "start one with `ray start --head` there, and `ray start --address HOST:PORT` on every other node"


def connect(address: str | None = None) -> Any:
    """The module ``ray``, connected to the cluster at ``address``.

    Args:
        address: ``HOST:PORT``, or ``auto`` for the cluster of this machine; ``RAY_ADDRESS``, else ``auto``, where None.

    Raises:
        EnsError: Ray is not installed, nobody answers, or what answers is no Ray cluster of this version.
    """
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # once it is shut down, no call may start a cluster
    try:
        import ray  # noqa: PLC0415  (an extra)
    except ModuleNotFoundError as error:
        raise EnsError(
            f"expected the package ray, found no module '{error.name}'; run `pip install 'ens-toolkit[ray]'`"
        ) from None
    if ray.is_initialized():
        return ray
    _silence()
    chosen = address or os.environ.get("RAY_ADDRESS") or "auto"
    if chosen != "auto":
        _check_head(chosen)
    try:
        ray.init(address=chosen, log_to_driver=False, logging_level=logging.CRITICAL)
    except ConnectionError:
        raise EnsError(f"expected a Ray cluster on this machine, found none; {START}, or give --ray-address") from None
    except Exception as error:  # of Ray's many, most say that the machine is no node, or versions differ
        reason = str(error).strip().partition("\n")[0]
        raise EnsError(
            f"cannot join the Ray cluster at {chosen} ({reason}); this machine must be a node of it with the same"
            f" versions of Ray and Python: run `ray start --address {chosen}` here, with --num-cpus 0 if it shall not"
            " train"
        ) from None
    return ray


def _silence() -> None:
    """Keep Ray from printing the log of a node that died into our output, which may be JSON; it has no switch."""
    with suppress(ImportError):  # another version may have no such module, and nothing to silence
        from ray._private import worker  # noqa: PLC0415

        worker.print_to_stdstream = lambda data, ignore_prefix: None


def _check_head(address: str) -> None:
    """Refuse an address where no gRPC server answers: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise EnsError(
            f"expected the address of a Ray cluster as HOST:PORT, such as 10.0.0.1:6379, or 'auto', got '{address}'"
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT) as connection:
            if os.environ.get("RAY_USE_TLS", "0") != "0":
                return
            connection.sendall(PREFACE)
            answer = connection.recv(9)
    except (OSError, OverflowError) as error:
        raise EnsError(f"expected a Ray cluster at {address}, but nobody answers ({error}); {START}") from None
    if answer[3:4] != bytes([SETTINGS]):
        raise EnsError(f"expected a Ray cluster at {address}, but another program answers there; {START}")


def nodes_of(ray: Any) -> list[dict[str, float]]:
    """Resources of every node that is alive, such as ``{"CPU": 8.0, "GPU": 1.0}``."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def needs(job: Job, threads: int, nodes: Sequence[Mapping[str, float]]) -> tuple[Job, dict[str, float]]:
    """The job with the device and the precision that were planned, and what Ray must reserve for it.

    A worker that chose for itself could choose otherwise, and would then train another member.

    Args:
        job: a job whose device and precision may be ``auto``: what this machine makes of it.
        threads: threads of the member.
        nodes: from ``nodes_of``.

    Raises:
        EnsError: no node has room for it, or GPUs would stand idle because this machine has none.
    """
    from ensemble.inference.hardware import choose_hardware  # noqa: PLC0415  (torch takes two seconds)

    given = job.arguments
    chosen = choose_hardware(given.get("device", "auto"), given.get("precision", "auto"))
    pinned = replace(job, arguments={**given, "device": chosen.device, "precision": chosen.precision})
    most = {kind: max((node.get(kind, 0.0) for node in nodes), default=0.0) for kind in ("CPU", "GPU")}
    if chosen.device == "cuda":
        if most["GPU"] < 1:
            raise EnsError(
                f"'{job.label}' is planned for a GPU as this machine has one, but no node of the Ray cluster has;"
                ' set device = "cpu" in the recipe'
            )
        return pinned, {"num_gpus": 1, "num_cpus": 0}
    if most["GPU"] >= 1 and given.get("device", "auto") == "auto":
        raise EnsError(
            f"the Ray cluster has GPUs, but '{job.label}' is planned for the CPU as this machine has none; start the"
            ' study on a node with a GPU, or set device = "cpu" in the recipe'
        )
    if most["CPU"] < threads:
        raise EnsError(
            f"expected a node with {threads} CPUs for members of {threads} threads, but the largest of the Ray cluster"
            f" has {most['CPU']:.0f}; give fewer --threads"
        )
    return pinned, {"num_gpus": 0, "num_cpus": threads}

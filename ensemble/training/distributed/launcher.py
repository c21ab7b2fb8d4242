"""Read what a launcher such as ``accelerate launch`` writes into the environment, and connect the processes."""

from __future__ import annotations

import atexit
import os
from dataclasses import replace
from datetime import timedelta
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ensemble.core.errors import EnsError
from ensemble.training.distributed.processes import ONE_PROCESS, Processes

if TYPE_CHECKING:
    from ensemble.config import MemberSettings

LAUNCHER_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
TIMEOUT = timedelta(days=7)  # the others wait while the main one predicts; a dead process closes its connection
SHARED_DEVICES = ("cpu", "cuda")  # on which several processes can train one member


def launched_processes() -> Processes:
    """Return rank and number of the processes, as the launcher wrote them into the environment; not connected yet.

    Raises:
        EnsError: there is more than one process, but the environment lacks the rank of this one or the address of the
            main one, or ``accelerate`` is not installed.
    """
    count = _number("WORLD_SIZE", "1")
    if count < 2:
        return ONE_PROCESS
    if missing := [name for name in LAUNCHER_VARIABLES if not os.environ.get(name)]:
        raise EnsError(
            f"WORLD_SIZE={count} in the environment asks for {count} processes of one member, which also needs"
            f" {', '.join(missing)}; start the command with `accelerate launch`, or unset WORLD_SIZE"
        )
    if find_spec("accelerate") is None:
        raise EnsError(
            "training with several processes needs the package accelerate, which is not installed;"
            " run `pip install 'ens-toolkit[multi-gpu]'`"
        )
    return Processes(_number("RANK"), count)


def _number(name: str, default: str = "") -> int:
    text = os.environ.get(name) or default
    if not text.isdecimal():
        raise EnsError(f"expected a number in the environment variable {name}, got '{text}'; correct it or unset it")
    return int(text)


def is_main_process() -> bool:
    """Return whether this process prints: the main process of a launcher, or a process without a launcher.

    Unlike :func:`launched_processes`, this function never raises, because the code that prints errors calls it.
    """
    return os.environ.get("WORLD_SIZE", "1") in ("", "0", "1") or os.environ.get("RANK", "0") in ("", "0")


def refuse_launcher(command: str) -> None:
    """Refuse to run ``command`` if a launcher started it in several processes.

    Raises:
        EnsError: a launcher started this process.
    """
    if (count := _number("WORLD_SIZE", "1")) > 1:
        raise EnsError(
            f"{command} starts processes itself, but a launcher started it {count} times; run it without the launcher"
            " (to train one member on several GPUs, use `accelerate launch` with `ens train`)"
        )


def check_shares(batch_size: int, rows: int, count: int) -> None:
    """Check that a batch splits into equal shares of at least two images, which BatchNorm needs.

    Args:
        batch_size: images per step of all processes together.
        rows: number of training images; no batch is larger.
        count: number of processes.

    Raises:
        EnsError: the shares would differ in size, or hold one image.
    """
    batch = min(batch_size, rows)
    if batch % count == 0 and batch // count >= 2:
        return
    fitting = max(2, batch // count) * count
    advice = f"choose batch_size {fitting}" if fitting <= rows else "start fewer processes"
    raise EnsError(
        f"expected a batch that splits into equal shares of at least 2 images for {count} processes, got {batch}"
        f" images; {advice}"
    )


def connect_processes(settings: MemberSettings) -> Processes:
    """Connect the processes of a member and return them; without a launcher, return :data:`ONE_PROCESS`.

    Raises:
        EnsError: the launcher started another number of processes than the member was planned with, they cannot be
            connected, or two would share a GPU.
    """
    here = launched_processes()
    if here.count != settings.processes:
        advice = "run the command without a launcher"
        if settings.processes > 1:
            advice = f"start the command with `accelerate launch --multi_gpu --num_processes {settings.processes}`"
        raise EnsError(
            f"this member was started with {settings.processes} process{'es' * (settings.processes > 1)}, not"
            f" {here.count}; {advice} (the results depend on the number)"
        )
    return here if here.count == 1 else replace(here, accelerator=_connect(settings.device))


@cache  # the following members use the same connection
def _connect(device: str) -> Any:
    import torch  # noqa: PLC0415
    from accelerate import (  # noqa: PLC0415  (an extra)
        Accelerator,
        DistributedDataParallelKwargs,
        DistributedType,
        InitProcessGroupKwargs,
    )

    local = _number("LOCAL_WORLD_SIZE", str(_number("LOCAL_RANK") + 1))
    if device == "cuda" and local > torch.cuda.device_count():
        raise EnsError(
            f"expected a GPU for each of the {local} processes of this machine, got {torch.cuda.device_count()} GPUs;"
            " start fewer processes"
        )
    # find_unused_parameters has two uses: networks of plug-ins may have parameters that a step does not use; and torch
    # then never regroups the gradients after the first step, so a resumed run adds them in the same order.
    # BatchNorm normalises by the share of its process, and all processes continue with the statistics of the main one
    # (torch's default). SyncBatchNorm does not run on CPUs, so no test could check it, and torch's conversion loses
    # the activation inside timm's BatchNormAct2d.
    kept = DistributedDataParallelKwargs(find_unused_parameters=True)
    timeout = InitProcessGroupKwargs(timeout=TIMEOUT)
    try:
        accelerator = Accelerator(
            cpu=device == "cpu", mixed_precision="no", dynamo_backend="no", kwargs_handlers=[kept, timeout]
        )
    except (RuntimeError, ValueError) as error:
        raise EnsError(
            f"cannot connect the processes at {os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
            f" ({str(error).partition(chr(10))[0][:120]}); check the address and port given to the launcher"
        ) from None
    if accelerator.distributed_type not in (DistributedType.MULTI_CPU, DistributedType.MULTI_GPU):
        raise EnsError(
            f"expected plain data-parallel processes, got {accelerator.distributed_type.value} from accelerate's"
            " configuration; choose multi-GPU there, or launch with --multi_gpu"
        )
    atexit.register(accelerator.end_training)  # torch warns about connections that stay open
    return accelerator

"""What a launcher such as ``accelerate launch`` tells the processes of a member, and how they are connected."""

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

PLACE = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # what launchers tell a process
PATIENCE = timedelta(days=7)  # the main process predicts on its own; launchers and closed connections tell of the dead
DEVICES = ("cpu", "cuda")


def launched_processes() -> Processes:
    """Number of this process and count of all, as a launcher wrote them into the environment; not connected yet.

    Raises:
        EnsError: there is more than one process, and the environment says not which this is or where the main one is,
            or ``accelerate`` is not installed.
    """
    count = _number("WORLD_SIZE", "1")
    if count < 2:
        return ONE_PROCESS
    if missing := [name for name in PLACE if not os.environ.get(name)]:
        raise EnsError(
            f"WORLD_SIZE={count} in the environment means {count} processes of one member, which needs"
            f" {', '.join(missing)} too; start the command with `accelerate launch`, or unset WORLD_SIZE"
        )
    if find_spec("accelerate") is None:
        raise EnsError(
            "expected the package accelerate for a member over several processes, found none;"
            " run `pip install 'ens-toolkit[multi-gpu]'`"
        )
    return Processes(_number("RANK"), count)


def _number(name: str, default: str = "") -> int:
    text = os.environ.get(name) or default
    if not text.isdecimal():
        raise EnsError(f"expected a number in the environment variable {name}, got '{text}'; unset it or correct it")
    return int(text)


def is_main_process() -> bool:
    """Whether this process is the one that prints: any that no launcher started, and the first of those it did.

    Unlike :func:`launched_processes` it never raises, for it is asked where errors are told.
    """
    return os.environ.get("WORLD_SIZE", "1") in ("", "0", "1") or os.environ.get("RANK", "0") in ("", "0")


def refuse_launcher(command: str) -> None:
    """Refuse to run a command that a launcher started several times over.

    Raises:
        EnsError: there is a launcher.
    """
    if (count := _number("WORLD_SIZE", "1")) > 1:
        raise EnsError(
            f"{command} starts processes itself, but a launcher started it {count} times; run it without the launcher"
            " (a single member over several GPUs goes with `accelerate launch` and `ens train`)"
        )


def check_shares(batch_size: int, rows: int, count: int) -> None:
    """Refuse a batch that does not split evenly over the processes, or into shares that BatchNorm cannot work on.

    Args:
        batch_size: images per step, of all processes together.
        rows: training images; a batch holds no more.
        count: processes.

    Raises:
        EnsError: shares of different sizes, or of one image.
    """
    batch = min(batch_size, rows)
    if batch % count == 0 and batch // count >= 2:
        return
    fitting = max(2, batch // count) * count
    advice = f"choose --batch-size {fitting}" if fitting <= rows else "start fewer processes"
    raise EnsError(
        f"expected a batch that splits into equal shares of at least 2 images for {count} processes, got {batch}"
        f" images; {advice}"
    )


def connect_processes(settings: MemberSettings) -> Processes:
    """Connect the processes of a member; :data:`ONE_PROCESS` for a member of one.

    Raises:
        EnsError: the launcher started more or fewer processes than the member has, they cannot be connected, or two
            would share a GPU.
    """
    here = launched_processes()
    if here.count != settings.processes:
        advice = "run the command without a launcher"
        if settings.processes > 1:
            advice = f"start the command with `accelerate launch --multi_gpu --num_processes {settings.processes}`"
        raise EnsError(
            f"this member is one of {settings.processes} process{'es' * (settings.processes > 1)}, got {here.count};"
            f" {advice}, for the number changes what comes out"
        )
    return here if here.count == 1 else replace(here, accelerator=_connect(settings.device))


@cache  # the connection stays for the members that follow
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
    # Networks of plug-ins may have parameters that a step does not use; and where these are looked for, gradients are
    # never regrouped after the first step, so a resumed run adds them up in the order of the uninterrupted one.
    # BatchNorm normalises by the share of its process and all go on with the statistics of the main one (the default):
    # SyncBatchNorm does not run on CPUs, so no test could watch it, and torch's conversion loses the activation that
    # timm's BatchNormAct2d holds.
    kept = DistributedDataParallelKwargs(find_unused_parameters=True)
    patience = InitProcessGroupKwargs(timeout=PATIENCE)
    try:
        accelerator = Accelerator(
            cpu=device == "cpu", mixed_precision="no", dynamo_backend="no", kwargs_handlers=[kept, patience]
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
    atexit.register(accelerator.end_training)  # torch wants the connection closed
    return accelerator

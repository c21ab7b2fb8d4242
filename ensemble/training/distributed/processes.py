"""The processes that train one member together, where a launcher started several: who is who, and what they share.

Every process computes on its share of each batch; data-parallel training (``accelerate``, which wraps torch's)
averages the gradients, so that all hold the same weights. The main process alone reads the state of the member and
writes its files, and the others follow what it says. Without a launcher there is one process and none of this runs.

Reference:
    Li et al., PyTorch Distributed: Experiences on Accelerating Data Parallel Training, VLDB 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ensemble.core.errors import EnsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn


T = TypeVar("T")


class PeerFailed(EnsError):
    """A process ends because the main one does, which says why."""


@dataclass(frozen=True)
class Processes:
    """The processes of one member.

    Attributes:
        rank: number of this process, from 0 on; 0 is the main one.
        count: how many there are.
        accelerator: what connects them, an ``accelerate.Accelerator``; None for a process on its own.
    """

    rank: int = 0
    count: int = 1
    accelerator: Any = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes the member's files and tells what happens."""
        return self.rank == 0

    def share(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The part of a batch that is this process's: one of ``count`` equal ones.

        >>> import numpy as np
        >>> Processes(rank=1, count=2).share(np.array([4, 8, 5, 9]))
        array([5, 9])
        """
        size = len(rows) // self.count
        return rows[self.rank * size : (self.rank + 1) * size]

    def device(self, kind: str) -> str:
        """The device of this process: that of ``kind``, or the GPU that is its own where there are several."""
        return kind if self.accelerator is None else str(self.accelerator.device)

    def data_parallel(self, module: nn.Module) -> nn.Module:
        """The module with its gradients averaged over the processes in every backward pass."""
        return self.accelerator.prepare_model(module)

    def run_on_main(self, work: Callable[[], T]) -> T:
        """Do ``work`` in the main process, while the others wait, and tell its result to all.

        Raises:
            EnsError: what ``work`` raised, in the main process; :class:`PeerFailed` in the others.
        """
        if self.count == 1:
            return work()
        from torch.distributed import broadcast_object_list  # noqa: PLC0415  (not for a process on its own)

        failure: EnsError | None = None
        told: list[Any] = [None, False]
        if self.is_main:
            try:
                told[0] = work()
            except EnsError as error:
                failure, told[1] = error, True
        broadcast_object_list(told)
        if failure is not None:
            raise failure
        if told[1]:
            raise PeerFailed(f"process {self.rank + 1} of {self.count} ends with the first one, which says why")
        return told[0]

    def gather(self, own: T) -> list[T]:
        """What every process gives, in the order of their numbers, with tensors on the CPU."""
        if self.count == 1:
            return [own]
        from accelerate.utils import send_to_device  # noqa: PLC0415  (an extra)
        from torch.distributed import all_gather_object  # noqa: PLC0415

        every: list[Any] = [None] * self.count
        all_gather_object(every, send_to_device(own, "cpu"))  # a tensor would come out on the device it was on
        return every

    def mean_loss(self, loss: Tensor, late: bool) -> tuple[Tensor, bool]:
        """Mean of the processes' losses, and whether it is ``late`` for any of them: one message for both."""
        if self.count == 1:
            return loss, late
        import torch  # noqa: PLC0415

        values = torch.stack([loss.float(), loss.new_tensor(late, dtype=torch.float32)])
        torch.distributed.all_reduce(values)
        return values[0] / self.count, bool(values[1] > 0)

    @contextmanager
    def report_lost_peer(self) -> Generator[None]:
        """Say in one sentence that the block lost another process.

        Raises:
            EnsError: one that ended, or whose machine cannot be reached any more.
        """
        try:
            yield
        except RuntimeError as error:
            if self.count == 1 or not _is_lost(error):
                raise
            raise EnsError(
                f"process {self.rank + 1} of {self.count} lost another one, which ended or cannot be reached; see what"
                " that one said, and repeat the launch to go on from the last checkpoint"
            ) from None


ONE_PROCESS = Processes()


def _is_lost(error: RuntimeError) -> bool:
    from torch.distributed import DistError  # noqa: PLC0415

    return isinstance(error, DistError) or "gloo" in str(error)  # gloo raises plain errors that name its source files

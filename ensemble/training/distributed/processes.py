"""Work that the processes of one member share: batches, gradients, decisions of the main process.

Every process computes on its share of each batch. Data-parallel training (torch's, through ``accelerate``) averages
the gradients, so all processes hold the same weights. Only the main process reads and writes the files of the member;
the others receive its results. Without a launcher there is one process, and all methods return at once.

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
    """Raised in worker processes when the main process has failed; the main process reports the cause."""


@dataclass(frozen=True)
class Processes:
    """The processes that train one member.

    Attributes:
        rank: number of this process, from 0; 0 is the main process.
        count: number of processes.
        accelerator: connection between them, an ``accelerate.Accelerator``; None for a single process.
    """

    rank: int = 0
    count: int = 1
    accelerator: Any = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes the member's files and prints."""
        return self.rank == 0

    def share(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the part of a batch that belongs to this process: one of ``count`` equal parts.

        >>> import numpy as np
        >>> Processes(rank=1, count=2).share(np.array([4, 8, 5, 9]))
        array([5, 9])
        """
        size = len(rows) // self.count
        return rows[self.rank * size : (self.rank + 1) * size]

    def device(self, kind: str) -> str:
        """Return the device of this process: ``kind``, or its own GPU if there are several processes."""
        return kind if self.accelerator is None else str(self.accelerator.device)

    def data_parallel(self, module: nn.Module) -> nn.Module:
        """Return the module wrapped so that every backward pass averages the gradients over the processes."""
        return self.accelerator.prepare_model(module)

    def run_on_main(self, work: Callable[[], T]) -> T:
        """Run ``work`` in the main process while the others wait, and return its result in all processes.

        Raises:
            EnsError: in the main process, the error of ``work``; in the others, :class:`PeerFailed`.
        """
        if self.count == 1:
            return work()
        from torch.distributed import broadcast_object_list  # noqa: PLC0415  (not needed by a single process)

        failure: EnsError | None = None
        message: list[Any] = [None, False]  # the result, and whether work failed
        if self.is_main:
            try:
                message[0] = work()
            except EnsError as error:
                failure, message[1] = error, True
        broadcast_object_list(message)
        if failure is not None:
            raise failure
        if message[1]:
            raise PeerFailed(
                f"process {self.rank + 1} of {self.count} stopped with the first one; see the error of that one"
            )
        return message[0]

    def gather(self, own: T) -> list[T]:
        """Return the values of ``own`` of all processes, by rank, with tensors on the CPU."""
        if self.count == 1:
            return [own]
        from accelerate.utils import send_to_device  # noqa: PLC0415  (an extra)
        from torch.distributed import all_gather_object  # noqa: PLC0415

        every: list[Any] = [None] * self.count
        all_gather_object(every, send_to_device(own, "cpu"))  # tensors arrive on the device they had
        return every

    def mean_loss(self, loss: Tensor, late: bool) -> tuple[Tensor, bool]:
        """Return the mean loss of the processes, and whether ``late`` is true for any of them, in one message."""
        if self.count == 1:
            return loss, late
        import torch  # noqa: PLC0415

        values = torch.stack([loss.float(), loss.new_tensor(late, dtype=torch.float32)])
        torch.distributed.all_reduce(values)
        return values[0] / self.count, bool(values[1] > 0)

    @contextmanager
    def report_lost_peer(self) -> Generator[None]:
        """Turn torch's error about a lost process into a sentence.

        Raises:
            EnsError: another process ended, or its machine cannot be reached.
        """
        try:
            yield
        except RuntimeError as error:
            if self.count == 1 or not _is_lost(error):
                raise
            raise EnsError(
                f"process {self.rank + 1} of {self.count} lost the connection to another process, which ended or cannot"
                " be reached; see the error of that process, and repeat the launch to resume from the last checkpoint"
            ) from None


ONE_PROCESS = Processes()


def _is_lost(error: RuntimeError) -> bool:
    from torch.distributed import DistError  # noqa: PLC0415

    return isinstance(error, DistError) or "gloo" in str(error)  # gloo raises plain errors that name its files

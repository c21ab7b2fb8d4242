"""Train one member on a node of a Ray cluster, in the folder that all nodes share."""

from __future__ import annotations

import platform
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from uuid import uuid4

from ensemble.core.errors import EnsError
from ensemble.core.files import atomic
from ensemble.study.jobs import Job, Outcome
from ensemble.study.member_process import PATIENCE, MemberProcess

POLL_SECONDS = 0.5  # Ray's cancellation takes effect between two polls

Event = tuple[str, int, int, str]


@dataclass(frozen=True)
class SharedFolder:
    """Hold the folder of the study, and a file by which a node recognises it.

    Attributes:
        working_folder: folder that the study was started in, where relative paths begin.
        token: file in the folder of members and ensembles, which exists while the study runs.
    """

    working_folder: Path
    token: Path

    def check(self) -> None:
        """Refuse a node that does not see the folders of the study.

        Raises:
            EnsError: one of the folders is not there.
        """
        for folder, seen in ((self.working_folder, self.working_folder), (self.token.parent, self.token)):
            if not seen.exists():
                raise EnsError(
                    f"the node {platform.node()} of the Ray cluster does not see {folder}; put the runs, the data and"
                    " the folder in which you start the study on a disk that all nodes share under the same path"
                )


@contextmanager
def shared_folder(out: Path) -> Generator[SharedFolder]:
    """Write the token into ``out``, and delete it when the block ends."""
    token = Path.cwd() / out / f".shared-{uuid4().hex}"
    with atomic(token):
        pass
    try:
        yield SharedFolder(Path.cwd(), token)
    finally:
        token.unlink(missing_ok=True)


def train_on_node(job: Job, threads: int, folder: SharedFolder) -> Generator[Event | Outcome]:
    """Train one member in a process of this node; yield its events and, at the end, its outcome.

    ``ray.cancel`` raises KeyboardInterrupt in here; the process then has a minute to save its state.

    Raises:
        EnsError: this node does not see the folders of the study.
    """
    folder.check()
    updates: Queue[Event | Outcome] = Queue()
    process = MemberProcess(job, threads, folder.working_folder)

    def listen() -> None:
        host = platform.node()
        updates.put(process.listen(lambda _, *event: updates.put((*event[:3], f"{event[3]} on {host}".strip()))))

    listener = Thread(target=listen, daemon=True)
    listener.start()
    try:
        update: Event | Outcome | None = None
        while not isinstance(update, Outcome):
            with suppress(Empty):
                update = updates.get(timeout=POLL_SECONDS)
                yield update
    finally:
        process.interrupt()
        process.end_by(time.monotonic() + PATIENCE)
        listener.join()

"""The far side of a study on a Ray cluster: what trains a member on a node, in folders of that node alone."""

from __future__ import annotations

import getpass
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

from filelock import FileLock, Timeout

from ensemble.core.errors import EnsError
from ensemble.study.jobs import Job, Outcome
from ensemble.study.process import MemberProcess
from ensemble.study.ray.job_paths import moved
from ensemble.study.ray.transfer import FileBundle, pack, state_of, unpack, whole

WAIT = 0.5  # seconds that a question for news waits for the end
KEPT = 14 * 24 * 3600.0  # seconds after which a node forgets what no member has asked for since
REST = 10.0  # a checkpoint is sent after so many times what the last one took: at most a tenth of the time is for that

Progress = tuple[str, int, int, str]


@dataclass(frozen=True)
class WorkerUpdate:
    """What happened since the last question.

    Attributes:
        events: the last event of each task: its name, how much is done of how much, a note.
        files: the member with its latest checkpoint, or finished; None where nothing is new.
        outcome: how it ended, once it has.
    """

    events: tuple[Progress, ...]
    files: FileBundle | None
    outcome: Outcome | None


class NodeTrainer:
    """Trains one member in a folder of this node; whoever started it asks for news and takes the files home.

    It runs as a Ray actor, because it must answer while it trains and can be asked to stop.
    """

    def host(self) -> str:
        """Name of the machine; the first answer says that it has its place."""
        return platform.node()

    def start(self, job: Job, threads: int, sent: Mapping[str, FileBundle], state: FileBundle | None) -> dict[str, str]:
        """Start, or go on from ``state``, with the files that the job names taken from what was ``sent``.

        Returns:
            Places on this node, and what they are called in the job.

        Raises:
            EnsError: the node's disk is full or cannot be written.
        """
        import ray  # noqa: PLC0415  (an extra)

        places = {text: str(fetch(parcel, ray.get)) for text, parcel in sent.items()}
        try:
            self._folder, self._alive = _run_folder()
            self._member = self._folder / "members" / job.name
            if state is not None:
                _write(state, self._member, ray.get)
        except OSError as error:
            raise _unwritable(error) from None
        here = moved(job, lambda text: places.get(text, text))
        here = replace(here, arguments={**here.arguments, "out": str(self._folder)})
        self._put = ray.put
        self._lock, self._ended = Lock(), Event()
        self._events: dict[str, Progress] = {}
        self._outcome: Outcome | None = None
        self._sent, self._rest_until = self._stamp(), 0.0
        self._process = MemberProcess(here, threads)
        Thread(target=self._listen, daemon=True).start()
        return {place: text for text, place in places.items()}

    def news(self) -> WorkerUpdate:
        """What is new, after half a second at the most."""
        ended = self._ended.wait(WAIT)
        with self._lock:
            events, self._events = tuple(self._events.values()), {}
        if not ended:
            return WorkerUpdate(events, self._checkpoint(), None)
        assert self._outcome is not None
        files = None
        if (self._member / "config.json").is_file():
            finished = self._outcome.state == "trained"
            files = pack(whole(self._member) if finished else state_of(self._member), self._put)
        self._alive.release()
        shutil.rmtree(self._folder, ignore_errors=True)
        return WorkerUpdate(events, files, self._outcome)

    def stop(self) -> None:
        """Ask the training to keep its state and end; ``news`` tell when it has."""
        if not self._ended.is_set():
            self._process.interrupt()

    def _listen(self) -> None:
        def keep(_: Job, *event: Any) -> None:
            with self._lock:
                self._events[event[0]] = event

        self._outcome = self._process.listen(keep)
        self._ended.set()

    def _checkpoint(self) -> FileBundle | None:
        """The member as it is, where its checkpoint or its weights are new."""
        stamp = self._stamp()
        if stamp == self._sent or time.monotonic() < self._rest_until:
            return None
        started = time.monotonic()
        try:
            parcel = pack(state_of(self._member), self._put)
        except FileNotFoundError:  # replaced while the folder was read; the next question finds what came instead
            return None
        self._sent, self._rest_until = stamp, started + REST * (time.monotonic() - started)
        return parcel

    def _stamp(self) -> frozenset[tuple[str, int]]:
        stamps: set[tuple[str, int]] = set()
        for pattern in ("checkpoint-f*.pt", "weights-f*.safetensors"):
            for file in self._member.glob(pattern):
                with suppress(FileNotFoundError):
                    stamps.add((file.name, file.stat().st_mtime_ns))
        return frozenset(stamps)


def own_folder() -> Path:
    """Folder of this user on the node's own disk (``TMPDIR`` chooses which).

    Raises:
        EnsError: it cannot be made, or belongs to someone else.
    """
    user = str(os.getuid()) if hasattr(os, "getuid") else getpass.getuser()
    folder = Path(tempfile.gettempdir()) / f"ens-toolkit-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
            raise EnsError(f"{folder} on {platform.node()} belongs to another user; remove it, or set TMPDIR there")
    except OSError as error:
        raise _unwritable(error) from None
    return folder


def fetch(parcel: FileBundle, get: Any) -> Path:
    """The file or folder of a parcel on this node, written once for all members: its folder is named by its digest.

    Raises:
        EnsError: the node's disk is full or cannot be written.
    """
    home = own_folder() / "sent" / parcel.digest
    arriving = home.with_suffix(".arriving")
    try:
        home.parent.mkdir(exist_ok=True)
        with FileLock(home.with_suffix(".lock")):
            if not home.is_dir():
                shutil.rmtree(arriving, ignore_errors=True)  # of a process that was killed
                _write(parcel, arriving, get)
                arriving.replace(home)
            os.utime(home)
            (place,) = home.iterdir()
        _forget(home.parent)
    except OSError as error:
        raise _unwritable(error) from None
    return place


def _forget(sent: Path) -> None:
    """Remove what was last asked for long ago; nothing that trains now was."""
    for folder in (path for path in sent.iterdir() if path.is_dir()):
        with suppress(FileNotFoundError, Timeout), FileLock(folder.with_suffix(".lock"), timeout=0):
            if time.time() - folder.stat().st_mtime > KEPT:
                shutil.rmtree(folder, ignore_errors=True)


def _write(parcel: FileBundle, folder: Path, get: Any) -> None:
    for name, content in unpack(parcel, get):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("wb") as stream:
            shutil.copyfileobj(content, stream)


def _run_folder() -> tuple[Path, FileLock]:
    """A folder to train in, and the lock that says it is in use; folders of processes that died are removed."""
    runs = own_folder() / "runs"
    runs.mkdir(exist_ok=True)
    with FileLock(runs / ".lock"):
        for folder in (path for path in runs.iterdir() if path.is_dir()):
            with suppress(Timeout), FileLock(folder / ".alive", timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        mine = Path(tempfile.mkdtemp(dir=runs))
        alive = FileLock(mine / ".alive")
        alive.acquire()
    return mine, alive


def _unwritable(error: OSError) -> EnsError:
    return EnsError(
        f"cannot write on {platform.node()}: {error.strerror or error} ({error.filename}); free some disk there, or set"
        " TMPDIR to another place before Ray is started"
    )

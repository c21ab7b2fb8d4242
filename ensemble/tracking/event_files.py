"""Write runs as TensorBoard's event files: a folder per run.

TensorBoard's scalars have 32 bits, so a number that is read back agrees to seven digits.
"""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]  (made when imported)
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import summary

from ensemble.core.errors import EnsError
from ensemble.core.files import write_bytes
from ensemble.tracking.record import Outcome, Put, Record

PREFIX = "events.out.tfevents."  # TensorBoard reads every file whose name contains "tfevents"


def open_store(folder: Path) -> Put:
    """Return a function that writes a record into ``folder``; nothing is written yet."""
    return partial(_put, folder)


def view(folder: Path) -> str:
    """Return the command that shows the runs."""
    return f"tensorboard --logdir {shlex.quote(str(folder))}"


def _put(folder: Path, record: Record) -> Outcome:
    """Write the file of a run in place of an older one; its name ends with the digest of the record."""
    place = folder / record.data / record.name
    path = place / f"{PREFIX}{record.finished:.0f}.{record.digest}"
    existing = list(place.glob(f"{PREFIX}*"))
    if existing == [path]:
        return "unchanged"
    # A running TensorBoard must never see a part of the file, so the file gets its name when it is complete.
    unfinished = place / "unfinished"
    write_bytes(unfinished, _events(record))
    try:
        for old in existing:
            old.unlink()
        unfinished.replace(path)
    except OSError as error:
        raise EnsError(f"cannot write {path}: {error.strerror or error}; choose another output folder") from error
    return "changed" if existing else "new"


def _events(record: Record) -> bytes:
    """Return the content of the event file of a run, which depends on the record only."""
    stream = io.BytesIO()
    events = RecordWriter(stream)
    events.write(Event(wall_time=record.started, file_version="brain.Event:2").SerializeToString())
    for step, time, content in _summaries(record):
        events.write(Event(wall_time=time, step=step, summary=content).SerializeToString())
    return stream.getvalue()


def _summaries(record: Record) -> Iterator[tuple[int, float, Any]]:
    """Yield epoch, time and content of series, pictures and texts, then of hyperparameters and final scores."""
    for name, points in record.series.items():
        for point in points:
            yield point.epoch, point.time, summary.scalar(name, point.value)
    last = max((points[-1].epoch for points in record.series.values()), default=0)
    texts = {"tags": "\n".join(f"- {name}: {value}" for name, value in record.tags.items()), "verdict": record.note}
    for path in record.files:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                pixels_hwc = np.asarray(picture.convert("RGB"))
            yield last, record.finished, summary.image(path.stem, pixels_hwc, dataformats="HWC")
        elif path.suffix == ".json":
            texts[path.name] = f"```\n{path.read_text(encoding='utf-8')}```"
    for name, text in texts.items():
        if text:
            yield last, record.finished, summary.text(name, text)
    # TensorBoard offers a choice for texts and a range for numbers, so a yes or no is written as text.
    parameters = {name: str(value) if isinstance(value, bool) else value for name, value in record.parameters.items()}
    scores = {f"final/{name}": value for name, value in record.metrics.items()}
    for content in (*summary.hparams(parameters, scores), *(summary.scalar(*score) for score in scores.items())):
        yield last, record.finished, content

"""Runs as TensorBoard's event files: a folder per run, written without TensorFlow and without torch.

Scalars of TensorBoard are 32 bit: what is read back agrees to seven digits.
"""

# pyright: reportAttributeAccessIssue=false
# (protobuf makes the classes of its messages when it is imported)

from __future__ import annotations

import io
import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import PIL.Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.hparams.api_pb2 import STATUS_SUCCESS
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboard.plugins.text.metadata import create_summary_metadata as text_metadata
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

from ensemble.core.errors import EnsError
from ensemble.core.files import write_bytes
from ensemble.tracking.record import Outcome, Put, Record

MARK = "tfevents"  # files with this in their name are event files to TensorBoard


def open_store(folder: Path) -> Put:
    """What writes a record into ``folder``; nothing is written yet."""
    return partial(_put, folder)


def view(folder: Path) -> str:
    """The command that shows the runs."""
    return f"tensorboard --logdir {shlex.quote(str(folder))}"


def _put(folder: Path, record: Record) -> Outcome:
    """Write the file of a run, whose name ends with the digest of what is in it, in place of an older one."""
    place = folder / record.data / record.name
    path = place / f"events.out.{MARK}.{record.finished:.0f}.{record.digest}"
    there = list(place.glob(f"events.out.{MARK}.*"))
    if there == [path]:
        return "unchanged"
    # Under another name first: a TensorBoard that is running reads whatever has the mark in its name.
    write_bytes(place / "unfinished", _encode(record))
    try:
        for old in there:
            old.unlink()
        (place / "unfinished").replace(path)
    except OSError as error:
        raise EnsError(f"cannot write {path}: {error.strerror or error}; give another folder with --out") from error
    return "changed" if there else "new"


def _encode(record: Record) -> bytes:
    """The events as records of their length, its checksum, the event and its checksum."""
    stream = io.BytesIO()
    writer = RecordWriter(stream)
    writer.write(Event(wall_time=record.started, file_version="brain.Event:2").SerializeToString())
    for step, time, value in _values(record):
        writer.write(Event(wall_time=time, step=step, summary=Summary(value=[value])).SerializeToString())
    return stream.getvalue()


def _values(record: Record) -> Iterator[tuple[int, float, Summary.Value]]:
    """Step, time and value of everything: hyperparameters, series, final scores, texts and the picture."""
    start = SessionStartInfo(start_time_secs=record.started)
    for name, value in record.parameters.items():
        kind = "bool_value" if isinstance(value, bool) else "string_value" if isinstance(value, str) else "number_value"
        setattr(start.hparams[name], kind, value)
    yield 0, record.started, _hparams(hparams.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start))
    for name, points in record.series.items():
        for point in points:
            yield point.epoch, point.time, Summary.Value(tag=name, simple_value=point.value)
    last = max((points[-1].epoch for points in record.series.values()), default=0)
    for name, value in record.metrics.items():
        yield last, record.finished, Summary.Value(tag=f"final/{name}", simple_value=value)
    texts = {"tags": "\n".join(f"- {name}: {value}" for name, value in record.tags.items()), "verdict": record.note}
    for path in record.files:
        if path.suffix == ".png":
            yield last, record.finished, _picture(path)
        elif path.suffix == ".json":
            texts[path.name] = f"```\n{path.read_text(encoding='utf-8')}```"
    for name, text in texts.items():
        if text:
            tensor = make_tensor_proto(text)
            yield last, record.finished, Summary.Value(tag=name, metadata=text_metadata(name, ""), tensor=tensor)
    end = SessionEndInfo(status=STATUS_SUCCESS, end_time_secs=record.finished)
    yield last, record.finished, _hparams(hparams.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end))


def _hparams(tag: str, content: HParamsPluginData) -> Summary.Value:
    return Summary.Value(tag=tag, metadata=hparams.create_summary_metadata(content), tensor=hparams.NULL_TENSOR)


def _picture(path: Path) -> Summary.Value:
    with PIL.Image.open(path) as picture:
        width, height = picture.size
    image = Summary.Image(width=width, height=height, encoded_image_string=path.read_bytes())
    return Summary.Value(tag=path.stem, image=image)

"""Write runs to a local MLflow store: a SQLite file and a folder of artifacts, shown by ``mlflow ui``.

MLflow 3.17 no longer accepts a store of plain files, so this store uses SQLite (November 2026).
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

# Without this, the import below sends usage data to MLflow 3.17's servers (November 2026).
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow.entities import Metric, Param, Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from ensemble.core.errors import EnsError
from ensemble.tracking.record import Outcome, Put, Record

NAME, DIGEST = "ens.name", "ens.digest"
BASE, UNFINISHED = "mlflow.db", "unfinished.db"
BATCH = 100  # MLflow's limit of parameters in one call; 1000 metrics would be allowed

T = TypeVar("T")


class Store:
    """An open store: call it with a record to write a run."""

    def __init__(self, folder: Path) -> None:
        # It reports every table that it creates, and prints a traceback of every error that it raises (November 2026).
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        self.folder = folder.resolve()
        if unquote(str(self.folder)).partition("?")[0] != str(
            self.folder
        ):  # MLflow and SQLAlchemy would read another path.
            raise EnsError(f"expected a folder without '?' and codes such as '%20' in its path, got {self.folder}")
        self.experiments: dict[str, str] = {}
        with _explained(self.folder):
            (self.folder / "artifacts").mkdir(parents=True, exist_ok=True)
            _make_tables(self.folder)
            self.client = MlflowClient(tracking_uri=address(self.folder))

    def __call__(self, record: Record) -> Outcome:
        """Write a run; an older run of the same name is deleted, because MLflow never changes parameters."""
        with _explained(self.folder):
            experiment = self._experiment(record.data)
            existing = self._runs(experiment, record.name)
            same = [run for run in existing if run.data.tags.get(DIGEST) == record.digest]
            if not same:
                self._write(experiment, record)
            for run in existing:
                if run not in same[:1]:
                    self._delete(run)
            return "unchanged" if same else "changed" if existing else "new"

    def _delete(self, run: Run) -> None:
        """Delete a run as MLflow does: it can be restored; of an incomplete one the artifacts are removed."""
        if DIGEST not in run.data.tags:
            shutil.rmtree(self.folder / "artifacts" / run.info.run_id, ignore_errors=True)
        self.client.delete_run(run.info.run_id)

    def _experiment(self, data: str) -> str:
        """Return the experiment of a data set; each data set has one, because scores are compared on the same data."""
        if data not in self.experiments:
            known = self.client.get_experiment_by_name(data)
            place = (self.folder / "artifacts").as_uri()
            self.experiments[data] = known.experiment_id if known else self.client.create_experiment(data, place)
        return self.experiments[data]

    def _runs(self, experiment: str, name: str) -> list[Run]:
        return list(self.client.search_runs([experiment], filter_string=f"tags.`{NAME}` = '{name}'"))

    def _write(self, experiment: str, record: Record) -> None:
        start, end = _ms(record.started), _ms(record.finished)
        tags = {**record.tags, NAME: record.name}
        if record.note:
            tags["mlflow.note.content"] = record.note
        if "git" in tags:
            tags["mlflow.source.git.commit"] = tags["git"]
        run = self.client.create_run(experiment, start_time=start, tags=tags, run_name=record.name).info.run_id
        last = max((points[-1].epoch for points in record.series.values()), default=0)
        metrics = [Metric(_key(name), value, end, last) for name, value in record.metrics.items()]
        for name, points in record.series.items():
            metrics += [Metric(_key(name), point.value, _ms(point.time), point.epoch) for point in points]
        parameters = [Param(_key(name), str(value)) for name, value in record.parameters.items()]
        for part in _parts(parameters):
            self.client.log_batch(run, params=part)
        for part in _parts(metrics):
            self.client.log_batch(run, metrics=part)
        for path in record.files:
            self.client.log_artifact(run, str(path))
        self.client.set_terminated(run, end_time=end)
        self.client.set_tag(
            run, DIGEST, record.digest
        )  # This comes last: a run without it is incomplete and is written again.


def open_store(folder: Path) -> Put:
    """Open the store in ``folder``, or create it.

    Raises:
        EnsError: the folder cannot be written, or it holds a file that this MLflow cannot read.
    """
    return Store(folder)


def address(folder: Path, name: str = BASE) -> str:
    """Return MLflow's address of the store in ``folder``."""
    return f"sqlite:///{(folder.resolve() / name).as_posix()}"


def _make_tables(folder: Path) -> None:
    """Make an empty data base, which gets its name when it is complete.

    MLflow makes its tables in a hundred steps, and refuses a data base in which a killed process made only some.
    """
    if (folder / BASE).exists():
        return
    for leftover in folder.glob(f"{UNFINISHED}*"):
        leftover.unlink()
    MlflowClient(tracking_uri=address(folder, UNFINISHED)).search_experiments(max_results=1)
    (folder / UNFINISHED).replace(folder / BASE)


def view(folder: Path) -> str:
    """Return the command that shows the runs."""
    return f"mlflow ui --backend-store-uri {shlex.quote(address(folder))}"


@contextmanager
def _explained(folder: Path) -> Generator[None]:
    try:
        yield
    except ImportError as error:  # MLflow imports its stores when they are opened.
        raise EnsError(
            f"the installed mlflow does not fit the packages it needs ({error}); run `pip install -U mlflow`"
        ) from error
    except (MlflowException, SQLAlchemyError, OSError) as error:
        cause = getattr(error, "orig", None) or getattr(error, "strerror", None) or error
        lines = (line for line in str(cause).splitlines() if "autoflush" not in line)  # a hint to programmers
        reason = next(lines, type(error).__name__)
        raise EnsError(f"cannot write the MLflow store in {folder} ({reason}); choose another output folder") from error


def _key(name: str) -> str:
    """Replace the characters that MLflow does not allow in names."""
    return re.sub(r"[^/\w.\- ]", "_", name)


def _ms(seconds: float) -> int:
    return round(1000 * seconds)


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]

"""Train and predict for a few seconds and forget it: what steps and predictions take, in time and memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from ensemble.core.errors import EnsError
from ensemble.core.formatting import gigabytes
from ensemble.core.progress import Progress, no_progress
from ensemble.data.windows import read_window
from ensemble.evaluation.tally import Tally
from ensemble.inference.allocator import memory_kept, release_memory
from ensemble.inference.batching import BATCH, Size, largest_batch
from ensemble.inference.member_network import MemberNetwork
from ensemble.inference.memory import WEIGHT_BYTES, free_bytes, training_bytes
from ensemble.inference.network import count_parameters, infer, scored
from ensemble.inference.peak_memory import memory_in_use
from ensemble.inference.pooled_networks import PooledNetworks
from ensemble.runs.store.codec import encode, pack
from ensemble.training.batches import epoch_batches
from ensemble.training.growth import SMALL, Growth, Point, measure_growth
from ensemble.training.loop import confusions_of
from ensemble.training.optimiser import MOMENTS
from ensemble.training.trainer import FoldJob, Trainer, start_training

STEPS = 8  # most steps of one size that are measured
SURE_STEPS, SURE_SECONDS = 4, 0.4  # enough of them: the first two are slow, and do not count in the seconds
SHARE_OF_PREDICTIONS = 0.3  # most of the time that is spent on predictions
# A step takes about this multiple of the memory and time of a prediction of as many images.
STEP_TO_PREDICTION = 2.0, 3.0
KEPT = 1.2  # memory that is kept between predictions on a CPU is in pieces: up to this multiple of what they need
SAFETY = 0.95  # of the memory; a batch size that is recommended needs no more


@dataclass(frozen=True)
class Rehearsal:
    """What training and predicting took.

    Attributes:
        training: steps of a batch, by its images.
        predicting: predictions of a batch, without test-time augmentation; by its images.
        releasing: seconds to give back the memory that steps kept, as before an evaluation.
        scoring: seconds to score what is predicted for an image between two epochs.
        keeping: seconds to score and store what is predicted for an image at the end.
        seen: pixels that the network sees of an image of each size of the data: more than it has if tiles overlap.
        before: bytes in use before the network was built.
        weights: parameters of the network.
        room: bytes that may be in use.
        size: height and width of the images.
        kept: multiple of the memory of predictions that they take where free memory is kept.
    """

    training: Growth
    predicting: Growth
    releasing: float
    scoring: float
    keeping: float
    seen: Mapping[Size, int]
    before: float
    weights: int
    room: float
    size: tuple[int, int]
    kept: float = 1.0

    def memory(self, batch_size: int, validated: int, predicted: int, held: float) -> int:
        """Return the peak bytes of a member: of a step, of a validation, or of the predictions at the end.

        Args:
            batch_size: images of a step.
            validated: images that are predicted at once between two epochs.
            predicted: images that are predicted at once at the end.
            held: bytes that are held then, such as the networks of all folds.
        """
        state = self.training.points[0].bytes
        end = self.before + held
        between, last = (self.kept * self.predicting.added_bytes(images) for images in (validated, predicted))
        return int(max(self.training.bytes_of(batch_size), state + between, end + last))

    def check(self, batch_size: int, needed: Callable[[int], float]) -> None:
        """Check that a batch fits into the memory.

        Args:
            batch_size: images of a step.
            needed: the peak bytes of a member by its images of a step, see :meth:`memory`.

        Raises:
            EnsError: it does not; the text names the largest that does.
        """
        if needed(batch_size) <= self.room:
            return
        sizes = range(batch_size - 1, 1, -1)
        most = next((size for size in sizes if needed(size) <= SAFETY * self.room), None)
        most = 2 if most is None and batch_size > 2 and needed(2) <= self.room else most
        size = 2 if most is None else batch_size
        raise EnsError(
            f"{'even ' if most is None else ''}a batch of {size} images of {self.size[0]}x{self.size[1]} needs about"
            f" {gigabytes(needed(size))} of memory, but there are {gigabytes(self.room)}; use"
            f"{'' if most is None else f' batch_size {most}, the largest that fits,'} a smaller crop, a smaller network"
            " (fewer filters) or a machine with more memory"
        )


def rehearse(job: FoldJob, seconds: float, progress: Progress = no_progress) -> Rehearsal:
    """Run small batches, then larger ones if they fit; training starts afterwards as if nothing had happened.

    Args:
        job: a fold; no file is written.
        seconds: how long this may take; a first small batch takes as long as it takes.
        progress: callback that receives the progress.
    """
    settings, device = job.settings, job.settings.device
    start, batch = time.perf_counter(), min(settings.batch_size, len(job.training.shown))
    release_memory(device)
    before = memory_in_use(device)
    room = before + free_bytes(device)
    trainer = start_training(job)
    trainer.prepare()

    judged: list[tuple[float, float]] = []

    def predict(size: int, end: float) -> Sequence[float]:
        return [_predict(trainer, size, judged) for _ in range(2 if size == SMALL[0] else 1)]

    def train(size: int, end: float) -> Sequence[float]:
        most = 2 if size in SMALL and size < batch else STEPS
        return _train(trainer, size, most, end, progress)

    sizes = None if job.processes.count == 1 else (batch,)  # a share of a small batch may be too small
    base, limit = memory_in_use(device), SHARE_OF_PREDICTIONS * seconds
    with memory_kept(device):  # as all predictions
        predicting = measure_growth(predict, _at_once(job), device=device, base=base, room=room, seconds=limit)
    weights, learning = count_parameters(trainer.network), count_parameters(trainer.network, learning=True)
    held = training_bytes(weights, learning, moments=MOMENTS[settings.optimiser.name])
    base = memory_in_use(device) + held - 2 * WEIGHT_BYTES * weights  # gradients and moments are to come
    limit, (memory, duration) = seconds - (time.perf_counter() - start), STEP_TO_PREDICTION
    first = Point(2, duration * predicting.seconds_of(2), base + memory * predicting.added_bytes(2))
    with memory_kept(device):  # as in training
        if first.bytes > room:
            training = Growth((Point(0, 0.0, base), first))
        else:
            training = measure_growth(train, batch, device=device, base=base, room=room, seconds=limit, sizes=sizes)
        ended = time.perf_counter()
    releasing, (scoring, keeping) = time.perf_counter() - ended, judged[-1]
    size, kept = settings.window(job.facts), KEPT if device == "cpu" else 1.0
    seen = _seen(trainer)
    return Rehearsal(training, predicting, releasing, scoring, keeping, seen, before, weights, room, size, kept)


def _at_once(job: FoldJob) -> int:
    """Return how many images of the size that a step has are predicted at once, if there are enough."""
    size = job.settings.window(job.facts)
    return max(1, largest_batch([size] * BATCH) // math.prod(size))


def _seen(trainer: Trainer) -> dict[Size, int]:
    """Return the pixels that the network sees of an image of each size."""
    job = trainer.job
    # Without a key: how far random weights look is not remembered.
    member = MemberNetwork((trainer.average,), job.settings, job.facts, job.settings.device)
    networks = PooledNetworks.of_one(member)
    return {size: networks.seen(size) for size in {*job.dataset.sizes, *job.dataset.test_sizes}}


def _predict(trainer: Trainer, size: int, judged: list[tuple[float, float]]) -> float:
    """Predict windows of as many validation images, or whole images, and return the seconds; score and store them.

    The seconds that this takes for one of them, as between two epochs and as at the end, are added to ``judged``.
    """
    job, times = trainer.job, [time.perf_counter()]
    height, width = job.settings.window(job.facts)
    rows = np.resize(job.validation_rows if len(job.validation_rows) else job.training_rows, size).tolist()
    pairs = [read_window(job.dataset, row, (0, height), (0, width)) for row in rows]
    images_nhwc, labels_nhw = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
    classes = len(job.facts.classes)
    outputs = infer(trainer.average, images_nhwc, job.settings, job.settings.device)
    times.append(time.perf_counter())
    confusions_of(outputs, labels_nhw, classes)
    times.append(time.perf_counter())
    probs = scored(outputs, classes).numpy()
    Tally(classes).add(probs, labels_nhw)
    pack(list(encode(probs)), list(labels_nhw))
    times.append(time.perf_counter())
    predicting, scoring, keeping = np.diff(times).tolist()
    judged.append((scoring / size, keeping / size))
    return predicting


def _train(trainer: Trainer, size: int, most: int, end: float, progress: Progress) -> list[float]:
    """Train on batches of one size until enough steps are measured or the next would end late; return their seconds."""
    times: list[float] = []
    with closing(_steps(trainer, size)) as steps:
        for seconds in steps:
            times.append(seconds)
            sure = len(times) >= SURE_STEPS and sum(times[2:]) > SURE_SECONDS
            following = seconds / 2 if len(times) == 1 else seconds  # the first step is up to twice as slow
            ended = sure or time.perf_counter() + following > end
            if len(times) == most or trainer.job.processes.run_on_main(lambda ended=ended: ended):
                break
            progress("measuring a step", len(times), most)
    progress("measuring a step", len(times), len(times))
    return times


def _steps(trainer: Trainer, size: int) -> Generator[float]:
    """Train epoch after epoch and yield the seconds of every step, with the wait for its batch."""
    job, settings = trainer.job, trainer.job.settings
    step = 0
    while True:
        batches = epoch_batches(
            job.training,
            size,
            settings.augmentation,
            settings.seed,
            job.processes.device(settings.device),
            settings.sampler,
            processes=job.processes,
        )
        with closing(batches):
            start = time.perf_counter()
            for batch in batches:
                float(trainer.step(*batch, step))  # waits for a GPU
                yield time.perf_counter() - start
                start, step = time.perf_counter(), step + 1

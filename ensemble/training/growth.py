"""What a batch takes: measured on small batches first, so that measuring never fills the memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from ensemble.inference.peak_memory import peak_memory

SMALL = (2, 4)  # images of the batches that are measured first

# (images, time of the clock at which to end) -> seconds of each run of a batch of this size, one at least
Run = Callable[[int, float], Sequence[float]]


@dataclass(frozen=True)
class Point:
    """What a batch took.

    Attributes:
        images: images of the batch.
        seconds: seconds of a run.
        bytes: peak bytes of everything in use.
        first_extra: seconds that the first run took longer, because it had to get its memory from the system.
    """

    images: int
    seconds: float
    bytes: float
    first_extra: float = 0.0


@dataclass(frozen=True)
class Growth:
    """Measured batches, from small to large; the first one has no image."""

    points: tuple[Point, ...]

    def bytes_of(self, images: int) -> float:
        """Return the peak with this number of images, on the line through the two largest batches measured.

        Activations grow with the images; weights, their moments and the data do not.

        >>> Growth((Point(0, 0.0, 100), Point(2, 0.1, 160), Point(4, 0.2, 200))).bytes_of(32)
        760.0
        """
        first, second = self.points[-2:]
        slope = max(0.0, (second.bytes - first.bytes) / (second.images - first.images))
        return second.bytes + slope * (images - second.images)

    def added_bytes(self, images: int) -> float:
        """Return by how much this number of images raises the memory in use."""
        return max(0.0, self.bytes_of(images) - self.points[0].bytes)

    def seconds_of(self, images: float) -> float:
        """Return the seconds of a run, in proportion to the images of the largest batch measured."""
        return self.points[-1].seconds * images / self.points[-1].images


def measure_growth(
    run: Run,
    images: int,
    *,
    device: str,
    base: float,
    room: float,
    seconds: float,
    sizes: Sequence[int] | None = None,
) -> Growth:
    """Run batches of 2 and 4 images, then of the largest size that time and memory allow, at most ``images``.

    Args:
        run: runs batches of a size.
        images: number of images that will be needed.
        device: device whose memory is measured.
        base: bytes in use without images.
        room: bytes that may be in use; no batch is run that would need more.
        seconds: how long this may take; the first batch takes as long as it takes.
        sizes: the sizes to try, instead of these.
    """
    points, end = [Point(0, 0.0, base)], time.perf_counter() + seconds
    for size in sizes or _sizes(images):
        growth = Growth(tuple(points))
        if len(points) > 1 and growth.bytes_of(size) > room:
            break
        if len(points) > 1 and time.perf_counter() + growth.seconds_of(size) > end:
            continue
        with peak_memory(device) as peak:
            times = run(size, end)
        usual = median(times[2:] or times[-1:])  # the first runs are slower
        points.append(Point(size, usual, peak.bytes, max(0.0, times[0] - usual)))
        if size == images or size > SMALL[-1]:
            break
    return Growth(tuple(points))


def _sizes(images: int) -> list[int]:
    """Return the sizes to measure: small ones, then the largest first.

    >>> _sizes(32), _sizes(5), _sizes(3)
    ([2, 4, 32, 16, 8], [2, 4, 5], [2, 3])
    """
    large = [images >> halved for halved in range(images.bit_length())]
    small = [size for size in SMALL if size < images]
    return [*small, *(size for size in large if size > max(small, default=0))]

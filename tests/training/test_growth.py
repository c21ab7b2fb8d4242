"""Batches grow from small to large, as far as time and memory allow; larger ones are extended from them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.training import growth as module
from ensemble.training.growth import Growth, Point, measure_growth

MB = 10**6


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Growth, list[int]]]:
    """Return a function that measures runs of a second and of 10 MB for each image, with 100 MB in use before."""

    def run_all(images: int, room: float = 1e18, seconds: float = 1e9, first: float = 0.0) -> tuple[Growth, list[int]]:
        clock, sizes, peak = [0.0], list[int](), [0.0]

        class FakePeak:
            def __enter__(self) -> FakePeak:
                return self

            def __exit__(self, *_: object) -> None:
                self.bytes = peak[0]

        def run(size: int, end: float) -> Sequence[float]:
            sizes.append(size)
            clock[0] += 2.0 * size
            peak[0] = 100 * MB + 10 * MB * size
            return [size + first, float(size)]

        monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
        monkeypatch.setattr(module, "peak_memory", lambda _: FakePeak())
        found = measure_growth(run, images, device="cpu", base=100 * MB, room=room, seconds=seconds)
        return found, sizes

    return run_all


def test_the_size_itself_is_measured_if_it_can_be(measure: Callable[..., tuple[Growth, list[int]]]) -> None:
    found, sizes = measure(32, first=9.0)
    assert sizes == [2, 4, 32]
    assert (found.bytes_of(32), found.seconds_of(32)) == (420 * MB, 32.0)
    assert found.added_bytes(32) == 320 * MB


@pytest.mark.parametrize(
    ("room", "seconds", "sizes"),
    [
        (130 * MB, 1e9, [2]),  # 4 images would need 140 MB
        (419 * MB, 1e9, [2, 4]),  # 32 would need 420 MB
        (1e18, 20.0, [2, 4, 8]),  # 8 take 8 seconds, and there are 8 left
        (1e18, 1.0, [2]),  # the first takes as long as it takes
    ],
)
def test_no_size_runs_that_would_need_too_much(
    measure: Callable[..., tuple[Growth, list[int]]], room: float, seconds: float, sizes: list[int]
) -> None:
    found, ran = measure(32, room, seconds)
    assert ran == sizes
    assert (found.bytes_of(32), found.seconds_of(32)) == (420 * MB, 32.0)  # extended exactly, because both are linear


@given(st.integers(1, 100), st.integers(1, 10**9))
def test_every_number_of_images_is_measured_in_ascending_order(images: int, slope: int) -> None:
    sizes = list[int]()

    def run(size: int, _: float) -> Sequence[float]:
        sizes.append(size)
        return [0.0]

    found = measure_growth(run, images, device="cpu", base=0, room=1e18, seconds=1e9)
    assert sizes == sorted({*[size for size in module.SMALL if size < images], images})
    assert [point.images for point in found.points] == [0, *sizes]
    line = Growth((Point(0, 0, 5), Point(2, 0, 5 + 2 * slope)))
    assert line.bytes_of(images) == 5 + slope * images


def test_noise_never_makes_more_images_cheaper() -> None:
    assert Growth((Point(2, 1, 110), Point(4, 1, 100))).bytes_of(32) == 100


MEASURED = """
import numpy as np
from ensemble.inference.peak_memory import peak_memory
from ensemble.training.growth import measure_growth

MB = 1_000_000

def run(size, _):
    np.ones(size * 10 * MB, np.uint8).sum()
    return [1.0]

with peak_memory("cpu") as before:
    pass
found = measure_growth(run, 16, device="cpu", base=before.bytes, room=before.bytes + 100 * MB, seconds=1e9)
print([point.images for point in found.points], found.added_bytes(16))
"""


def test_real_memory_is_found_on_the_line() -> None:
    # In a process of its own: what other tests give back to the system would be missing in the peak.
    done = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[0, 2, 4] ")  # 160 MB would be too much
    assert float(done.stdout.split()[-1]) == pytest.approx(160 * MB, rel=0.1)

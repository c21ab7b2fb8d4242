"""Work on many items with a few threads; NumPy, file reading and decoding release Python's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")
THREADS = 4  # for files: some of them wait for the disk
CORES = os.cpu_count() or THREADS  # for computing: more threads only share the caches


def in_threads(function: Callable[[S], T], items: Iterable[S], threads: int | None = None) -> list[T]:
    """Return ``function`` of every item, in order; with ``THREADS`` threads if no other number is given.

    >>> in_threads(len, ["a", "bb"])
    [1, 2]
    """
    with ThreadPoolExecutor(threads or THREADS) as pool:
        return list(pool.map(function, items))


@contextmanager
def one_blas_thread() -> Generator[None]:
    """Let every BLAS compute with one thread.

    For matrices that are only a few members wide, threads of BLAS gain nothing. If other work shares the cores, they
    spin while they wait for each other: stacking took 85 s instead of 6 s. A limit holds only for the libraries that
    are loaded, and SciPy has a BLAS of its own, which its optimisers use; so it is loaded first. Without that, the
    fits of stacking took twice the processor time.
    """
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    import_module("scipy.special")  # a third of a second; intervals need it anyway

    with threadpool_limits(1, user_api="blas"):
        yield


def ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield the items; the next one is made in a thread while the caller works on the last one.

    >>> list(ahead(iter("abc")))
    ['a', 'b', 'c']
    """
    ended = object()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, ended)
        while (item := coming.result()) is not ended:
            coming = pool.submit(next, items, ended)
            yield item  # pyright: ignore[reportReturnType]  (it is not the mark of the end)

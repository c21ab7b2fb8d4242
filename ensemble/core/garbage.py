"""Do not search for garbage while libraries load: hundreds of thousands of objects appear, and all of them stay.

Python searches all objects again whenever their number has grown by a quarter, which takes a third of the time that
timm and torch's compiler need to load.
"""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Generator[None]:
    """Do not search for garbage inside the block."""
    searched = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searched:
            gc.enable()


def collect_later() -> None:
    """Do not search for garbage until `collect_again` is called."""
    gc.disable()


def collect_again() -> None:
    """Search for garbage from now on, if that was switched off; objects that exist already are left alone."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()

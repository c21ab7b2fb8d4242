"""The compact probability store: one split's class probabilities on disk, written and read by batches.

A store is a directory of compressed chunks and a ``manifest.json`` that is written last: without it there is no store.
"""

from ensemble.probabilities.codec import decode, encode
from ensemble.probabilities.store import Store
from ensemble.probabilities.writer import StoreWriter, open_writer

__all__ = ["Store", "StoreWriter", "decode", "encode", "open_writer"]

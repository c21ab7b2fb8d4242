"""The compact probability store: one split's class probabilities on disk, written and read by batches.

A store is a directory of compressed chunks and a ``manifest.json``. The manifest is written last; a directory without
it is not a store. The images may differ in size. Very large ones are stored, and read, as strips of rows.
"""

from ensemble.runs.store.codec import decode, encode
from ensemble.runs.store.parts import Part, parts_of
from ensemble.runs.store.reader import Reader
from ensemble.runs.store.store import Store
from ensemble.runs.store.writer import StoreWriter, open_writer

__all__ = ["Part", "Reader", "Store", "StoreWriter", "decode", "encode", "open_writer", "parts_of"]

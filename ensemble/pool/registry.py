"""The registry of combiners: ``factory(evidence, *, options) -> Pool``."""

from __future__ import annotations

from ensemble.pool.pool import Pool
from ensemble.registry import Registry

COMBINERS: Registry[Pool] = Registry("method")

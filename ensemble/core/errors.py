"""Errors meant for people: one sentence that says what was expected, what came and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EnsError(ValueError):
    """A mistake in what the user gave; the command line prints its text and exits with code 2."""


class UnknownName(EnsError):
    """A name that no registry, option table or run folder holds.

    >>> str(UnknownName("loss", "tverski", ["dice", "tversky"]))
    "unknown loss 'tverski'; did you mean 'tversky'? Known: dice, tversky"
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
        hint = f"; did you mean '{close[0]}'?" if close else "."
        super().__init__(f"unknown {kind} '{name}'{hint} Known: {', '.join(names) or 'none'}")

"""Errors that people read: each says in one sentence what was expected, what came and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EnsError(ValueError):
    """Raised for mistakes in the user's input; the command line prints the text and exits with code 2."""


class UnknownName(EnsError):
    """Raised for an unknown name; the text suggests the most similar known name and lists all of them.

    >>> str(UnknownName("loss", "tverski", ["dice", "tversky"]))
    "unknown loss 'tverski'; did you mean 'tversky'? Known: dice, tversky"
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
        hint = f"; did you mean '{close[0]}'?" if close else "."
        super().__init__(f"unknown {kind} '{name}'{hint} Known: {', '.join(names) or 'none'}")

"""Errors that people read: each says in one sentence what was expected, what came and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EnsError(ValueError):
    """Raised for mistakes in the user's input; the command line prints the text and exits with code 2."""


LISTED = 12  # known names that an error lists
CLOSEST = 6  # those listed if there are more than that
MISTYPED = 0.7  # smallest similarity of a name to one that was rather mistyped than meant
ALIKE = 0.6  # smallest similarity of a name to a suggestion that is much shorter or longer


class UnknownName(EnsError):
    """Raised for an unknown name; the text suggests the most similar known name and lists the known names.

    If there are many names, the text lists those most similar to the unknown one and counts the others.

    Args:
        kind: what the name should be, such as ``loss``.
        name: the unknown name.
        known: the names to choose from.
        where: words after the name, such as ``of architecture 'unet'``.
        listing: command that lists all names, in backticks.
        otherwise: what to do if the name is meant as it is; left out for a name that is nearly a known one.

    >>> str(UnknownName("loss", "tverski", ["dice", "tversky"]))
    "unknown loss 'tverski'; did you mean 'tversky'? Known: dice, tversky"
    """

    def __init__(
        self,
        kind: str,
        name: str,
        known: Iterable[str],
        *,
        where: str = "",
        listing: str = "",
        otherwise: str = "",
    ) -> None:
        names = sorted(known)
        close = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
        alike = difflib.get_close_matches(name.lower(), names, n=3, cutoff=ALIKE)
        close = [one for one in close if one in alike or _about_as_long(name.lower(), one)]
        close.sort(key=lambda one: not one.startswith(name.lower()))  # 'flip' is rather 'flips' than 'vflip'
        hint = f"; did you mean '{close[0]}'?" if close else "."
        text = ", ".join(names) or "none"
        if len(names) > LISTED:
            text = ", ".join(difflib.get_close_matches(name.lower(), names, n=CLOSEST, cutoff=0.0))
            text += f" and {len(names) - CLOSEST} more" + (f": {listing}" if listing else "")
        if otherwise and not difflib.get_close_matches(name.lower(), names, cutoff=MISTYPED):
            text += f"; {otherwise}"
        super().__init__(f"unknown {kind} '{name}'{where and f' {where}'}{hint} Known: {text}")


def _about_as_long(name: str, known: str) -> bool:
    """Return whether a name begins the known one, or is about as long: 'encoder' is not meant to be 'norm'."""
    return known.startswith(name) or abs(len(known) - len(name)) <= 2

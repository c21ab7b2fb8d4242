"""Shorten the names of runs, but keep them different."""

from __future__ import annotations

import re
from collections.abc import Sequence

LONGEST = 26  # characters that fit next to a picture


def short_names(names: Sequence[str], longest: int = LONGEST) -> list[str]:
    """Return shorter names that are still different from each other.

    Names of members are ``<arch>-<loss>-s<seed>-<hash6>``: the hash goes first, then the seed. A name that is still
    longer than ``longest`` characters loses its middle. A part stays if two names would become equal without it.

    >>> short_names(["unet-ce-s0-7ca07c", "unet-ce-s1-000000", "linknet-dice-s0-111111"])
    ['unet-ce-s0', 'unet-ce-s1', 'linknet-dice']
    """
    short = _where_unique(names, [re.sub(r"-[0-9a-f]{6}$", "", name) for name in names])
    short = _where_unique(short, [re.sub(r"-s\d+$", "", name) for name in short])
    return _where_unique(short, [_without_middle(name, longest) for name in short])


def _where_unique(names: Sequence[str], shorter: Sequence[str]) -> list[str]:
    return [new if shorter.count(new) == 1 else old for old, new in zip(names, shorter, strict=True)]


def _without_middle(name: str, longest: int) -> str:
    tail = (longest - 1) // 2
    return name if len(name) <= longest else f"{name[: longest - 1 - tail]}\u2026{name[-tail:]}"

"""Which files and folders a job names, and the same job with other places of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ensemble.study.jobs import Job

WEIGHTS = "encoder_weights"


def moved(job: Job, move: Callable[[str], str]) -> Job:
    """The same job with everything in it that may be a path put through ``move``.

    These are the data, the list of ``exclude`` (without its reasons), pretrained weights of an encoder, TOML files
    in ``augment``, and plug-ins.

    >>> job = Job("one", "unet-ce-s0-000000", {"data": "tiles.npz", "exclude": "suspects.csv:repeated-mask"})
    >>> dict(moved(job, lambda text: f"/there/{text}" if "." in text and ":" not in text else text).arguments)
    {'data': '/there/tiles.npz', 'exclude': '/there/suspects.csv:repeated-mask'}
    """
    given: dict[str, Any] = dict(job.arguments)
    changes: dict[str, Callable[[str], str]] = {
        "data": move,
        "exclude": lambda text: _moved_list(text, move),
        "augment": lambda text: _moved_sum(text, move),
        WEIGHTS: move,
    }
    for name, change in changes.items():
        if given.get(name) is not None:
            given[name] = change(str(given[name]))
    options = dict(given.get("arch_options") or {})
    if options.get(WEIGHTS) is not None:
        given["arch_options"] = options | {WEIGHTS: move(str(options[WEIGHTS]))}
    return replace(job, arguments=given, plugins=tuple(move(plugin) for plugin in job.plugins))


def _moved_list(text: str, move: Callable[[str], str]) -> str:
    """``suspects.csv`` or ``suspects.csv:reason,reason`` with the path moved."""
    if (whole := move(text)) != text:
        return whole
    head, colon, reasons = text.rpartition(":")
    return f"{move(head)}{colon}{reasons}" if colon else text


def _moved_sum(text: str, move: Callable[[str], str]) -> str:
    """A sum of augmentations with its TOML files moved."""
    from ensemble.core.component_text import split_sum  # noqa: PLC0415  (its package takes two seconds, and a node starts often)

    return " + ".join(move(term) if term.endswith(".toml") else term for term in split_sum(text))


def paths_of(job: Job) -> tuple[str, ...]:
    """The paths that a job names, as they are written in it, each once."""
    found: dict[str, None] = {}

    def note(text: str) -> str:
        if text != "sample" and Path(text).expanduser().is_file():  # the sample is embedded
            found[text] = None
        return text

    data = str(job.arguments.get("data", "sample"))
    if Path(data).expanduser().is_dir():  # the others are files: a folder called "imagenet" is no encoder
        found[data] = None
    moved(job, note)
    return tuple(found)

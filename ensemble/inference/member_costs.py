"""What predicting one image costs here, member by member: milliseconds, or billions of operations."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, cast

import numpy as np

from ensemble.combining.alignment import align
from ensemble.combining.budget import CRITERIA, GFLOPS, Budget, parse_limit
from ensemble.config import WithinBy
from ensemble.core.errors import UnknownName
from ensemble.core.progress import Progress, no_progress
from ensemble.inference.batching import Size, is_tiled
from ensemble.inference.pooled_networks import PooledNetworks
from ensemble.runs.member import Member
from ensemble.runs.select import choose_members

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROUNDS, SECONDS, MOST = 5, 2.0, 200  # least rounds over all members, what they take together, most rounds
LARGEST_TILE: Size = (1024, 1024)


def measure_budget(
    within: str,
    members: Sequence[str | Path | Member] = (),
    *,
    by: str = "miou",
    drop: Sequence[str | Path] = (),
    runs: str | Path = "runs",
    device: str = "cpu",
    progress: Progress = no_progress,
) -> Budget:
    """Measure what each member costs on this machine, for `ensemble.combine(within=...)`.

    One image of the median size of the validation images is predicted at a time, with the folds and the test-time
    augmentation of each member. Milliseconds are the median of several rounds over all members; operations are counted
    in convolutions and matrix products, a multiplication with an addition as two.

    Args:
        within: what one image may cost: ``20ms``, ``0.5s``, ``2GFLOPs`` or ``300MFLOPs``.
        members: members by name, unique beginning of the name or path, or opened members; by default all of the newest
            data set.
        by: what the best members within it are: those with the largest ``miou``, or the smallest ``log-loss``.
        drop: members to leave out.
        runs: folder for runs.
        device: device of the networks.
        progress: callback that receives the progress.

    Raises:
        EnsError: no such budget or criterion, no such member, or a member without a network.
    """
    from ensemble.inference.member_network import load_member  # noqa: PLC0415  (torch takes two seconds)

    limit, unit = parse_limit(within)
    if by not in CRITERIA:
        raise UnknownName("criterion", by, CRITERIA)
    opened = choose_members(Path(runs), members, drop)
    sizes = sorted(align(opened).sizes, key=math.prod)
    size = sizes[len(sizes) // 2]
    each = dict[str, PooledNetworks]()
    for count, one in enumerate(opened, 1):
        each[one.name] = PooledNetworks.of_one(load_member(one, device, None, one.facts.values))
        progress("loading members", count, len(opened), one.name)
    measure = _operations if unit == GFLOPS else _milliseconds
    return Budget(limit, unit, measure(each, size, progress), cast(WithinBy, by))


def _milliseconds(members: Mapping[str, PooledNetworks], size: Size, progress: Progress) -> dict[str, float]:
    """Return the median milliseconds of each member; a round runs all members, so that all see the same machine."""
    rounds, start = list[list[float]](), time.perf_counter()
    task, total = "measuring the time of one image", (1 + ROUNDS) * len(members)
    progress(task, 0, total)
    while len(rounds) <= ROUNDS or (time.perf_counter() - start < SECONDS and len(rounds) < MOST):
        rounds.append([])
        for name, member in members.items():
            image_1hwc, factor = _image(member, size)
            before = time.perf_counter()
            member.of(image_1hwc)
            rounds[-1].append(1e3 * factor * (time.perf_counter() - before))
            if len(rounds) <= 1 + ROUNDS:
                progress(task, (len(rounds) - 1) * len(members) + len(rounds[-1]), total, name)
    found = zip(*rounds[1:], strict=True)  # the first round warms up
    return {name: median(each) for name, each in zip(members, found, strict=True)}


def _operations(members: Mapping[str, PooledNetworks], size: Size, progress: Progress) -> dict[str, float]:
    """Return the billions of operations of each member."""
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415

    found = dict[str, float]()
    for name, member in members.items():
        image_1hwc, factor = _image(member, size)
        with FlopCounterMode(display=False) as counter:
            member.of(image_1hwc)
        found[name] = factor * counter.get_total_flops() / 1e9
        progress("counting operations of one image", len(found), len(members), name)
    return found


def _image(member: PooledNetworks, size: Size) -> tuple[NDArray[np.uint8], float]:
    """Return an image to measure with, and how many times more the networks see of one of this size.

    For an image that is predicted in tiles, a large tile stands for all of them.
    """
    here = LARGEST_TILE if is_tiled(size) else size
    image = np.random.default_rng(0).integers(0, 256, (1, *here, member.members[0].facts.bands), np.uint8)
    return image, member.seen(size) / member.seen(here)

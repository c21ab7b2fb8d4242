"""Sort runs by the level of one factor, and into blocks that agree in every other setting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ensemble.config import MemberSettings
from ensemble.core.errors import EnsError, UnknownName

FACTORS: dict[str, tuple[str, ...]] = {
    "architecture": ("architecture", "pretrained"),
    "encoder": ("architecture.options.encoder", "architecture.options.encoder_weights", "pretrained"),
    "loss": ("loss",),
    "augmentation": ("augmentation",),
    "sampler": ("sampler",),
    "optimiser": ("optimiser.name", "optimiser.lr"),  # each has a default rate of its own
    "seed": ("seed",),
    "background": ("data.background",),
}
"""Factors by name, with the settings that belong to each; every other setting is a factor under its own name."""

ALIASES = {"arch": "architecture", "augment": "augmentation", "lr": "optimiser.lr"}
NOISE = (
    "seed",
    "device",
    "threads",
    "deterministic",
    "optimiser.kind",
    "data.source",
)  # runs that differ only in these are replicates


@dataclass(frozen=True)
class Grid:
    """Runs by the level of one factor and by block.

    Attributes:
        factor: name of the factor.
        levels: names of the levels that can be separated from the baseline, in order, with the baseline first.
        level_r: level of each run; None if it cannot be separated from the baseline.
        block_r: block of each run: all settings agree in it except factor and seed (for ``tta``: one training).
        apart: the reason, as a clause, for each level that is left out.
    """

    factor: str
    levels: tuple[str, ...]
    level_r: tuple[str | None, ...]
    block_r: tuple[int, ...]
    apart: tuple[str, ...]


def make_grid(settings_r: Sequence[MemberSettings], factor: str, baseline: str | None = None) -> Grid:
    """Sort runs by the level of ``factor`` and by everything else.

    Two levels can be separated from other settings if a chain of blocks joins them: a block holds runs of both, or it
    holds runs of one of them and of a third level that another block joins to the other.

    Args:
        settings_r: settings of the runs.
        factor: a name in :data:`FACTORS`, or the name of any setting, such as ``lr`` or ``filters``.
        baseline: level that the others are compared with; by default the most frequent of the levels that can be
            compared with most runs.

    Raises:
        EnsError: an unknown factor or level, only one level, or levels that always come with another setting.
    """
    flat_r = [_flatten(settings) for settings in settings_r]
    covered = _covered(factor, flat_r)
    level_r = _label([{key: flat[key] for key in sorted(flat) if _within(key, covered)} for flat in flat_r], covered)
    rest_r = _rest(flat_r, covered)
    block_r = _number(rest_r)
    counts = dict(sorted(Counter(level_r).items()))
    if len(counts) < 2:
        raise EnsError(
            f"all {len(level_r)} comparable runs use {factor}={', '.join(counts)}; train at least one member with a"
            f" different {factor} on the same data and split"
        )
    joined = _joined(level_r, block_r)
    if baseline is None:
        of_joined = {level: sum(counts[other] for other in joined[level]) for level in counts}
        baseline = max(counts, key=lambda level: (len(joined[level]) > 1, of_joined[level], counts[level]))
    elif baseline not in counts:
        raise UnknownName("level", baseline, counts, where=f"of {factor}")
    near = joined[baseline]
    apart = tuple(_why_apart(level, near, level_r, rest_r) for level in counts if level not in near)
    if len(near) < 2:
        raise EnsError(
            f"no two of these runs differ only in {factor}: {apart[0]}; train a member that differs in nothing else"
        )
    levels = (baseline, *sorted(near - {baseline}))
    return Grid(factor, levels, tuple(level if level in near else None for level in level_r), block_r, apart)


def replicates(settings_r: Sequence[MemberSettings]) -> tuple[int, ...]:
    """Return the block of each run: runs of one block differ only in the seed (and the machine)."""
    return _number(_rest([_flatten(settings) for settings in settings_r], ()))


def _rest(flat_r: Sequence[Mapping[str, Any]], covered: Sequence[str]) -> list[dict[str, str]]:
    """Return all settings of each run except the factor and noise; views (tta) are compared within each training."""
    left_out = (*covered, *(["data.source"] if "tta" in covered else NOISE))
    return [{key: repr(flat[key]) for key in sorted(flat) if not _within(key, left_out)} for flat in flat_r]


def _number(rest_r: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
    blocks = [tuple(rest.items()) for rest in rest_r]
    numbers = {block: number for number, block in enumerate(dict.fromkeys(blocks))}
    return tuple(numbers[block] for block in blocks)


def _flatten(settings: MemberSettings) -> dict[str, Any]:
    """Return the settings by dotted name, without epochs that follow from a budget."""
    flat: dict[str, Any] = {}

    def walk(prefix: str, content: Mapping[str, Any]) -> None:
        for key, value in content.items():
            if isinstance(value, dict) and key != "augmentation":
                walk(f"{prefix}{key}.", value)  # pyright: ignore[reportUnknownArgumentType]
            else:
                flat[prefix + key] = value

    walk("", settings.model_dump(mode="json"))
    if settings.budget_seconds is not None:
        del flat["epochs"]
    return flat


def _covered(factor: str, flat_r: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the settings that belong to a factor."""
    name = ALIASES.get(factor, factor)
    if name in FACTORS:
        return FACTORS[name]
    keys = {key for flat in flat_r for key in flat}
    matching = {key for key in keys if key == name or key.endswith(f".{name}")}
    if len(matching) != 1:
        varying = {key for key in keys if len({repr(flat.get(key)) for flat in flat_r}) > 1 and key not in NOISE}
        raise UnknownName("factor", factor, {*FACTORS, *(key for key in varying if not key.endswith(".name"))})
    return tuple(matching)


def _within(key: str, prefixes: Sequence[str]) -> bool:
    return any(key == prefix or key.startswith(f"{prefix}.") for prefix in prefixes)


def _label(content_r: Sequence[Mapping[str, Any]], covered: Sequence[str]) -> tuple[str, ...]:
    """Return a name for each run's level: its main setting, and those that differ among levels with the same one."""
    main = covered[0] if not any(f"{covered[0]}.name" in content for content in content_r) else f"{covered[0]}.name"
    alike: dict[str, list[Mapping[str, Any]]] = {}
    for content in content_r:
        alike.setdefault(_short(content.get(main)), []).append(content)
    label_r: list[str] = []
    for content in content_r:
        name = _short(content.get(main))
        varying = [key for key in content if key != main and len({repr(other.get(key)) for other in alike[name]}) > 1]
        more = ", ".join(f"{key.rsplit('.', 1)[-1]}={_short(content[key])}" for key in varying)
        label_r.append(f"{name} ({more})" if more else name)
    known: dict[str, list[str]] = {}  # contents of each label: long ones look alike when shortened
    for content, label in zip(content_r, label_r, strict=True):
        if repr(content) not in known.setdefault(label, []):
            known[label].append(repr(content))
    numbers = [known[label].index(repr(content)) for content, label in zip(content_r, label_r, strict=True)]
    return tuple(f"{label} #{n + 1}" if n else label for label, n in zip(label_r, numbers, strict=True))


def _short(value: Any) -> str:
    if isinstance(value, dict) and "recipe" in value:
        return str(value["recipe"])  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, list) and len(value) > 3:  # pyright: ignore[reportUnknownArgumentType]
        return f"{len(value)} values"  # pyright: ignore[reportUnknownArgumentType]
    return "none" if value in (None, []) else str(value)


def _joined(level_r: Sequence[str], block_r: Sequence[int]) -> dict[str, set[str]]:
    """Return, for each level, the levels that blocks join it to, including the level itself."""
    joined = {level: {level} for level in level_r}
    for block in set(block_r):
        together = set[str]().union(
            *(joined[level] for level, own in zip(level_r, block_r, strict=True) if own == block)
        )
        for level in together:
            joined[level] = together
    return joined


def _why_apart(level: str, near: set[str], level_r: Sequence[str], rest_r: Sequence[Mapping[str, str]]) -> str:
    """Name the most similar run of another level, and the other settings in which the two differ."""
    pairs = [
        (sorted(key for key in {*mine, *other} if mine.get(key) != other.get(key)), other_level)
        for own_level, mine in zip(level_r, rest_r, strict=True)
        for other_level, other in zip(level_r, rest_r, strict=True)
        if own_level == level and other_level in near
    ]
    keys, other = min(pairs, key=lambda pair: len(pair[0]))
    names = dict.fromkeys(next((name for name, own in FACTORS.items() if _within(key, own[:1])), key) for key in keys)
    return f"{level} differs from {other} also in {', '.join(names)}"

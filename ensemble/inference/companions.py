"""Remove files next to a mask that `ens predict` wrote for another mask: that of another model or of other options.

A companion such as ``NAME.entropy.tif`` carries the origin of the mask that it belongs to. If the mask is replaced and
the companion is not, it would describe a mask that is no longer there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ensemble.inference.output_plan import PROBABILITIES, SETS, OutputPlan
from ensemble.inference.replaceable import origin_of
from ensemble.inference.uncertainty_maps import UNCERTAINTIES

KINDS = (PROBABILITIES, *UNCERTAINTIES, SETS)
_PICTURES = (".png", ".tif", ".tiff")
_SHOWN = 3  # files that a note names


def remove_stale(plan: OutputPlan, row: int, origin: str) -> list[Path]:
    """Remove the companions of an image that belong to no mask, and return them.

    Files that `ens predict` did not write or that were changed since stay, and so do those that belong to this
    prediction, or to a mask of the image in another form.

    Args:
        plan: where predictions go.
        row: the image.
        origin: digest of model and image, of the mask that is there or comes now.
    """
    assert plan.masks is not None
    mask = plan.masks[row]
    planned = {*plan.masks, *plan.files_of(row).values()}
    there = [file for kind in KINDS if (file := mask.with_name(f"{mask.stem}.{kind}.tif")).exists()]
    found = {file: origin_of(file) for file in there if file not in planned}
    if not found:
        return []
    others = [mask.with_name(mask.stem + ending) for ending in _PICTURES]
    owners = {None, origin, *(origin_of(other) for other in others if other != mask)}
    stale = [file for file, owner in found.items() if owner not in owners]
    for file in stale:
        file.unlink(missing_ok=True)
    return stale


def removed_note(removed: Sequence[Path]) -> str:
    """Return a sentence about files that were removed; empty if there are none."""
    if not removed:
        return ""
    names = ", ".join(file.name for file in removed[:_SHOWN]) + ", ..." * (len(removed) > _SHOWN)
    return f"removed what earlier predictions wrote next to masks that are replaced: {names}"

"""What a user should know about a plan before training: few images, windows outside of images, few or cut groups."""

from __future__ import annotations

from ensemble.core.formatting import counted, in_percent
from ensemble.core.units import size_name
from ensemble.data.describe import size_text
from ensemble.data.samplers import sampler_note
from ensemble.data.split import cut_by_vault, cut_groups
from ensemble.data.windows import outside_share
from ensemble.evaluation.caveats import no_interval
from ensemble.training.plan import Plan

MUCH = 0.25  # of the windows outside of their images


def plan_notes(plan: Plan) -> list[str]:
    """Return sentences about too few images for a setting, too few groups, and groups that are cut."""
    return [*_image_notes(plan), *_group_notes(plan)]


def _image_notes(plan: Plan) -> list[str]:
    """Return sentences about the images of an epoch, of the fold that shows the fewest."""
    settings, rows = plan.settings, plan.fewest_shown
    size = min(settings.batch_size, len(rows))
    note = sampler_note(settings.sampler, plan.dataset.counts_nk[rows], size)
    notes = [note] if note else []
    if size < settings.batch_size:
        what = "training images" if settings.crop is None else "windows of an epoch"
        notes.append(f"a batch holds all {size} {what}, fewer than batch_size {settings.batch_size}")
    if settings.crop is not None:
        each_once = size_text([plan.dataset.sizes[row] for row in sorted(set(rows.tolist()))])  # however many windows
        notes.append(f"trains on windows of {size_name(settings.crop)} (--crop) of images of {each_once}")
        share = outside_share([plan.dataset.sizes[row] for row in rows.tolist()], settings.crop)
        if share > MUCH:
            notes.append(
                f"{in_percent(share)} of the pixels of the windows lie outside of their images, without labels; a"
                " smaller crop is faster"
            )
    return notes


def _group_notes(plan: Plan) -> list[str]:
    """Return sentences about groups that the split cuts, and about too few of them for an interval."""
    notes: list[str] = []
    if cut := cut_groups(plan.split, plan.groups):
        ids = [name for name, group in zip(plan.dataset.ids, plan.groups, strict=True) if group == cut[0]]
        notes.append(
            f"the given split has images of {counted(len(cut), 'group')} in training and in validation, such as"
            f" {cut[0]} ({', '.join(ids[:4])}{', ...' if len(ids) > 4 else ''}); the score may be too high"
        )
    if cut := cut_by_vault(plan.split, plan.groups):
        notes.append(
            f"images of {counted(len(cut), 'group')}, such as {cut[0]}, are in the vault and outside of it; its"
            " score may be too high"
        )
    if doubt := no_interval(len({plan.groups[row] for row in plan.split.scored})):
        notes.append(f"the images to be scored are {doubt}; add images of other scenes, or hold out more")
    return notes

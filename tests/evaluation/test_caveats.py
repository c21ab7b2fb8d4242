"""Notes on classes that few groups of images hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ensemble.evaluation.caveats import ENOUGH_GROUPS, FEW_HOLDERS, few_holders, support_notes
from ensemble.evaluation.paired import Draws

CLASSES = ["soil", "rock", "sand"]


def confusions(images: int, holders: int) -> NDArray[np.int64]:
    """Three classes: the first is in all images, the two others in the first ``holders`` images only."""
    tables = np.tile(np.eye(3, dtype=np.int64), (images, 1, 1))
    tables[holders:, 1:] = 0
    return tables


def test_all_classes_that_few_groups_hold_share_one_note() -> None:
    groups = [str(image) for image in range(15)]
    (note,) = support_notes(confusions(15, 6), groups, CLASSES)
    assert note == (
        "'rock' is in 6 images of 6 groups only (5 images hold 83% of its pixels), 'sand' is in 6 images of 6 groups"
        " only (5 images hold 83% of its pixels). Do not trust differences in the IoU of a single class before 20"
        " groups hold it; intervals of the mIoU hold, because they take the few groups into account (measured)."
    )


def test_classes_that_few_groups_hold_are_those_of_the_note() -> None:
    groups = [str(image) for image in range(FEW_HOLDERS + 5)]
    for holders, few in ((FEW_HOLDERS - 1, True), (FEW_HOLDERS, False)):
        tables = confusions(len(groups), holders)
        assert few_holders(tables, groups) == [False, few, few]
        assert bool(support_notes(tables, groups, CLASSES)) == few
        rock = Draws.of(groups, resamples=20).iou(tables)
        assert [one.few_groups for one in rock.compare(rock)] == [False, False, few, few]
    assert few_holders(confusions(12, 12), groups[:12]) == [False] * 3  # all groups hold all classes
    assert few_holders(confusions(len(groups), 0), groups) == [False] * 3  # a class that no group holds has no IoU


def test_nothing_is_said_for_the_miou_where_there_are_too_few_groups_in_all() -> None:
    few = ENOUGH_GROUPS - 1
    (note,) = support_notes(confusions(few, 3), [str(image) for image in range(few)], CLASSES)
    assert note.endswith("before 20 groups hold it.")
    (enough,) = support_notes(confusions(few + 1, 3), [str(image) for image in range(few + 1)], CLASSES)
    assert "intervals of the mIoU hold" in enough


def test_absent_and_rare_classes_have_a_note_each() -> None:
    tables = confusions(12, 4)
    tables[:, 2] = 0
    notes = support_notes(tables, [str(image) for image in range(12)], CLASSES)
    assert notes[0] == "'sand' is in none of these images and has no score."
    assert notes[1].startswith("'rock' is in 4 images of 4 groups only")
    assert len(notes) == 2

"""Every pair of runs: the numbers of a plain bootstrap, aligned by image, warned about, refused where it must be."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ensemble
from ensemble.comparison import compare_runs
from ensemble.comparison.pairs import Comparisons, judge_pairs
from ensemble.comparison.runs import Run, Shared, line_up, open_run
from ensemble.comparison.summary import caveats, p_value_text, pair_summary, summarise
from ensemble.core.errors import EnsError
from ensemble.evaluation import Draws, iou_per_class, mean_iou
from ensemble.evaluation.caveats import ENOUGH_GROUPS, too_few_groups
from ensemble.runs.member import Member

Make = Callable[..., Any]


def a_run(name: str = "a", quality: int = 8, images: int = 60, **more: Any) -> Run:
    """A run on ``images`` images of three in a group; ``quality`` shifts pixels to the diagonal."""
    confusions_nkk = np.random.default_rng(len(name) + quality).integers(0, 9, (images, 3, 3))
    confusions_nkk[:, range(3), range(3)] += quality
    fields: dict[str, Any] = {
        "name": name,
        "path": Path("runs") / name,
        "data": ("mars.npz", "d", "s"),
        "classes": ("soil", "sand", "rock"),
        "background": None,
        "ids": tuple(f"image-{row}" for row in range(images)),
        "groups": tuple(f"group-{row // 3:03d}" for row in range(images)),
        "confusions_nkp": confusions_nkk,
    }
    return Run(**(fields | more))


def judged(*runs: Run, resamples: int = 400) -> Comparisons:
    shared = line_up(runs)
    found = judge_pairs(shared.names, shared.columns, shared.scores(resamples))
    return Comparisons(shared, found, caveats(shared), summarise(shared, found))


# ---------------------------------------------------------------- numbers


def test_the_mean_without_classes_that_few_groups_hold_stands_beside() -> None:
    runs = [a_run("a", 8), a_run("bb", 12), a_run("ccc", 30)]
    assert judged(*runs).shared.columns == ("mIoU", "soil", "sand", "rock")
    for run in runs:
        run.confusions_nkp[9:, 2] = 0  # rock is in 3 of 20 groups
    found = judged(*runs)
    assert found.shared.columns == ("mIoU", "soil", "sand", "rock", "mIoU without rock")
    for run, (_, soil, sand, _, without) in zip(runs, found.shared.whole_rc, strict=True):
        iou_k = iou_per_class(run.confusions_nkp.sum(0))
        assert (soil, sand, without) == pytest.approx((iou_k[0], iou_k[1], iou_k[:2].mean()))
    draws = Draws.of(runs[0].groups, resamples=400)
    apart = [draws.iou(run.confusions_nkp[:, :2]) for run in runs]  # rock is void, and predicting it a miss
    of_common = [one for one in found.differences if one.score == "mIoU without rock"]
    for difference, (a, b) in zip(of_common, combinations(range(3), 2), strict=True):
        assert not difference.estimate.few_groups
        void = apart[a].compare(apart[b])[0]
        assert difference.estimate.difference == pytest.approx(void.difference, abs=0.02)
    alone = [draws.iou(run.confusions_nkp, np.array([True, False, False])) for run in runs[:2]]
    one, same = (alone[0].minus(alone[1], column).comparison() for column in (1, -1))
    assert (one.difference, one.low, one.high) == (same.difference, same.low, same.high)


def test_a_class_with_the_name_of_a_score_is_no_other_score() -> None:
    runs = [a_run("a", 8), a_run("bb", 12), a_run("ccc", 30)]
    names = ("mIoU", "object F1", "mIoU without rock")
    plain, found = judged(*runs), judged(*(replace(run, classes=names) for run in runs))
    assert found.shared.columns == ("mIoU", "IoU mIoU", "IoU object F1", "mIoU without rock")
    assert found.of() == plain.of()
    assert [one.p_holm for one in found.differences] == [one.p_holm for one in plain.differences]
    assert found.sentence == plain.sentence
    for run in runs:
        run.confusions_nkp[9:, 2] = 0
    rare = line_up([replace(run, classes=("IoU mIoU", "mIoU", "rock")) for run in runs])
    assert rare.columns == ("mIoU", "IoU mIoU", "IoU IoU mIoU", "rock", "mIoU without rock")
    rare = line_up([replace(run, classes=("mIoU without mIoU", "sand", "mIoU")) for run in runs])
    assert rare.columns == ("mIoU", "IoU mIoU without mIoU", "sand", "IoU mIoU", "mIoU without mIoU")


def test_a_class_that_no_image_holds_is_not_one_that_few_groups_hold() -> None:
    runs = [a_run("a", 8), a_run("bb", 12)]
    for run in runs:
        run.confusions_nkp[:, 2] = 0
    assert judged(*runs).shared.columns == ("mIoU", "soil", "sand", "rock")
    for run in runs:
        run.confusions_nkp[9:, 1] = 0
    assert judged(*runs).shared.columns[-1] == "mIoU without sand"


def test_differences_are_those_of_one_bootstrap() -> None:
    runs = [a_run("a", 8), a_run("bb", 12), a_run("ccc", 30)]
    found = judged(*runs)
    draws = Draws.of(runs[0].groups, resamples=400)
    for difference, (a, b) in zip(found.of(), combinations(runs, 2), strict=True):
        expected = draws.iou(a.confusions_nkp).compare(draws.iou(b.confusions_nkp))[0]
        whole = float(mean_iou(a.confusions_nkp.sum(0)) - mean_iou(b.confusions_nkp.sum(0)))
        assert difference.estimate.difference == pytest.approx(whole)
        assert vars(difference.estimate) == pytest.approx(vars(expected))
        assert (difference.a, difference.b) == (a.name, b.name)
        assert (difference.p < 0.05) == (not expected.covers_zero)
        samples_b = draws.iou(a.confusions_nkp).samples_bc[:, 0] - draws.iou(b.confusions_nkp).samples_bc[:, 0]
        sizes = samples_b.std() * math.sqrt(20) * math.sqrt(20 / 19)
        assert difference.effect_size == pytest.approx(expected.difference / sizes)
    rock = found.of("rock")[1]
    each = [iou_per_class(run.confusions_nkp.sum(0))[2] for run in (runs[0], runs[2])]
    assert rock.estimate.difference == pytest.approx(each[0] - each[1])


def test_mean_iou_is_corrected_for_pairs_and_classes_for_pairs_times_classes() -> None:
    found = judged(a_run("a"), a_run("bb"), a_run("ccc"), resamples=999)
    overall = sorted(found.of(), key=lambda one: one.p)
    assert overall[0].p_holm == pytest.approx(min(1, 3 * overall[0].p))
    classes = sorted((one for one in found.differences if one.score != "mIoU"), key=lambda one: one.p)
    assert len(classes) == 9
    assert classes[0].p_holm == pytest.approx(min(1, 9 * classes[0].p))


def test_the_table_has_a_row_per_pair_and_score() -> None:
    table = judged(a_run("a"), a_run("bb", 20)).table()
    names = ["a", "b", "score", "difference", "low", "high", "probability_of_improvement", "few_groups", "effect_size"]
    assert table.columns.tolist() == [*names, "p", "p_holm"]
    assert table["score"].tolist() == ["mIoU", "soil", "sand", "rock"]
    low, difference, high = (table[name].to_numpy() for name in ("low", "difference", "high"))
    assert bool(((low <= difference) & (difference <= high)).all())


def test_runs_are_aligned_by_image_and_only_shared_images_count() -> None:
    first = a_run("a")
    order = np.random.default_rng(0).permutation(60)[:50]
    second = a_run("bb", 20)
    shuffled = replace(
        second,
        ids=tuple(second.ids[row] for row in order),
        groups=tuple(second.groups[row] for row in order),
        confusions_nkp=second.confusions_nkp[order],
    )
    shared = line_up([first, shuffled])
    kept = np.sort(order)
    assert (shared.confusions_nrkp[:, 0, :, :3] == first.confusions_nkp[kept]).all()
    assert (shared.confusions_nrkp[:, 1, :, :3] == second.confusions_nkp[kept]).all()
    assert shared.groups == tuple(first.groups[row] for row in kept)
    assert caveats(shared) == ("a: the comparison uses 50 of its 60 images, those that all runs have.",)


def test_a_background_that_some_runs_score_is_void_for_all() -> None:
    plain = a_run("a")
    counts = np.random.default_rng(1).integers(1, 9, (60, 4, 4))
    scoring = a_run("bb", classes=("nothing", *plain.classes), background="nothing", confusions_nkp=counts)
    shared = line_up([scoring, plain])
    assert shared.classes == plain.classes
    assert (shared.confusions_nrkp[:, 0, :, :3] == counts[:, 1:, 1:]).all()
    assert (shared.confusions_nrkp[:, 0, :, 3] == counts[:, 1:, 0]).all()  # missed
    assert shared.whole_rc[0, 1:] == pytest.approx(iou_per_class(counts[:, 1:][..., [1, 2, 3, 0]].sum(0)))
    assert "bb also scores 'nothing', which is void for other runs" in caveats(shared)[0]


# ---------------------------------------------------------------- words


def test_sentences_say_what_the_numbers_say() -> None:
    strong = judged(a_run("a", 4), a_run("bb", 60))
    assert strong.sentence.startswith("bb is better than a: +")
    assert strong.sentence.endswith("points of mIoU, p < 0.001.")
    same = judged(a_run("a"), a_run("b", path=Path("runs/b")))
    assert same.sentence == "a and b do not differ significantly: +0.00 (+0.00 to +0.00) points of mIoU, p = 1.000."
    three = judged(a_run("a", 4), a_run("b", 60), a_run("c", 60))
    assert three.sentence == (
        "b scores best; it is significantly better than a; it is not significantly better than c"
        " (Holm's correction for 3 pairs)."
    )
    lucky = replace(strong.of()[0], p_holm=0.2)
    assert "bb looks better than a" in pair_summary(lucky, 10)
    assert "expected by chance (p = 0.200 after Holm's correction for 10 pairs)" in pair_summary(lucky, 10)
    assert p_value_text(0.0009) == "p < 0.001"


def test_a_second_sentence_is_on_the_mean_without_rare_classes() -> None:
    runs = [a_run("a", 8), a_run("bb", 8), a_run("ccc", 30)]
    for run, found in zip(runs, (0, 0, 3), strict=True):  # the group whose rock is found
        run.confusions_nkp[9:, 2] = 0  # rock is in 3 of 20 groups
        run.confusions_nkp[:, :, 2] = 0
        run.confusions_nkp[found : found + 3, 2] = 0, 0, 99
    one, two, three = runs
    first, second = judged(one, three).sentence.split(". ")
    assert first.startswith("a and ccc do not differ significantly: -")
    assert second.startswith("ccc is better than a: +")
    assert second.endswith("points of mIoU without rock, p < 0.001 after Holm's correction for 4 differences.")
    assert judged(one, two, three).sentence.endswith(
        "In mIoU without rock, ccc scores best; it is significantly better than a and bb (Holm's correction for 12"
        " differences)."
    )


def test_what_weakens_a_comparison_is_reported() -> None:
    member = a_run("unet", selected=True)
    whole = a_run("average-2", 20, members=("unet", "fpn"), selected=True)
    notes = judged(whole, member).notes
    assert "average-2: an epoch of one of its members was chosen on these very images" in notes[0]
    assert "average-2 contains unet. If that member was picked" in notes[1]
    assert "unet: an epoch of it was chosen on these very images (keep best)" in notes[2]


def test_too_few_groups_prove_nothing() -> None:
    film = judged(a_run("a", 4, images=6), a_run("bb", 60, images=6), a_run("c", 60, images=6))
    assert film.sentence == too_few_groups(2)
    for difference in film.differences:
        assert np.isnan([difference.estimate.low, difference.estimate.high, difference.p, difference.p_holm]).all()
        assert not difference.significant
    enough = judged(a_run("a", 4, images=3 * ENOUGH_GROUPS), a_run("bb", 60, images=3 * ENOUGH_GROUPS))
    assert enough.sentence.startswith("bb is better than a: +")


def test_runs_of_one_name_are_told_apart_by_their_path() -> None:
    shared = line_up([a_run("a"), a_run("a", 9, path=Path("other") / "a")])
    assert shared.names == (str(Path("runs/a")), str(Path("other/a")))


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": ("mars.npz", "e", "s")}, "a and bb were scored on different data .mars.npz, mars.npz.; compare"),
        ({"data": ("mars.npz", "d", "t")}, "a and bb were scored on different split"),
        ({"classes": ("soil", "sand", "ice")}, "a scores the class 'rock', but bb does not"),
        ({"ids": tuple(f"other-{row}" for row in range(60))}, "a and bb share no image"),
        ({"path": Path("runs") / "a"}, "bb was given twice"),
        ({"groups": ("one",) * 60}, None),
    ],
)
def test_runs_that_do_not_belong_together_are_refused(change: dict[str, Any], message: str | None) -> None:
    second = a_run("bb", **change)
    if message is None:
        with pytest.raises(EnsError, match="expected at least 2 groups of images to resample, got 1"):
            judged(second, a_run("a"))
        return
    with pytest.raises(EnsError, match=message):
        judged(a_run("a"), second)


# ---------------------------------------------------------------- on disk


def test_members_and_ensembles_are_read_alike(tmp_path: Path, make_member: Make) -> None:
    members: list[Member] = [make_member(tmp_path, f"net{i}", quality=0.6 + 0.8 * i) for i in range(2)]
    whole = ensemble.combine(method="average", runs=tmp_path).ensemble
    found = compare_runs([whole.path, members[0].path], resamples=300)
    expected = [whole.scores["miou"], members[0].scores["miou"]]
    assert found.shared.whole_rc[:, 0] == pytest.approx(expected)
    assert found.of()[0].estimate.difference == pytest.approx(expected[0] - expected[1])
    verdict = whole.scores["verdict"]["differences"]["method - member"]
    best = compare_runs([whole.path, members[1].path]).of()[0]
    assert best.estimate.difference == pytest.approx(verdict["difference"])
    assert (best.estimate.low, best.estimate.high) == pytest.approx((verdict["low"], verdict["high"]))  # one question
    assert any("contains net0" in note for note in found.notes)
    assert open_run(members[0].path).settings == members[0].settings
    with pytest.raises(EnsError, match="expected at least two members or ensembles to compare, got 1"):
        compare_runs([whole.path])
    for member in members:
        member.path.rename(tmp_path / member.name)
    with pytest.raises(
        EnsError, match=rf"the ensemble {whole.name} takes its images from its members, but .* holds none of them"
    ):
        open_run(whole.path)


def test_damaged_and_foreign_files_are_named(tmp_path: Path, make_member: Make) -> None:
    member: Member = make_member(tmp_path)
    with pytest.raises(EnsError, match="expected the directory of a member or ensemble, got"):
        open_run(tmp_path)
    (member.path / "probabilities" / "validation" / "manifest.json").unlink()
    with pytest.raises(EnsError, match=r"manifest\.json is missing; remove it with"):
        open_run(member.path)
    (member.path / "confusions.npz").write_bytes(b"nothing")
    with pytest.raises(EnsError, match="differs from what was written"):
        open_run(member.path)


def test_progress_is_reported_run_by_run() -> None:
    reports: list[tuple[str, int, int]] = []
    shared: Shared = line_up([a_run("a"), a_run("bb")])
    shared.scores(5, lambda task, done, total, note="", /: reports.append((task, done, total)))
    assert reports == [("resampling", 1, 2), ("resampling", 2, 2)]

"""Members of images of nine sizes are combined, explained, compared and reported, whole or in strips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.combining import alignment
from ensemble.combining.alignment import Aligned, align
from ensemble.combining.combine import combine
from ensemble.combining.compare_methods import combine_all
from ensemble.combining.fit_data import gather_fit_data
from ensemble.comparison import compare_runs
from ensemble.core.errors import EnsError
from ensemble.data import open_dataset
from ensemble.data.cleaning.label_errors import contradicted_masks
from ensemble.explanation.explain import explain
from ensemble.report.image_browser import browse
from ensemble.report.page import write_report
from ensemble.report.report_data import read_report_data
from ensemble.report.write_explanation import write_explanation
from ensemble.runs.member import Member
from ensemble.runs.store import chunks
from ensemble.runs.verify import verify
from tests.conftest import members_of_many_sizes

BYTES = 3 * 3 * 4 * 400  # 400 pixels of three members and three classes
METHODS = [
    "average",
    "vote",
    "geometric",
    "learned",
    "greedy",
    "per-class",
    "stacking",
    "stacking(neighbourhood=3)",
    "auto",
]


@pytest.fixture
def in_strips(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Function after which most images are read in strips."""
    return lambda: monkeypatch.setattr(alignment, "BATCH_BYTES", BYTES)


def batches(aligned: Aligned) -> list[Any]:
    return list(aligned.batches())


def test_batches_are_bounded_and_put_together_are_the_images(many_sizes: Any, in_strips: Callable[[], None]) -> None:
    aligned = align(many_sizes.members)
    whole = {row: batch for batch in batches(aligned) for row in range(batch.rows.start, batch.rows.stop)}
    assert all(batch.strip is None for batch in whole.values())
    in_strips()
    parts: dict[int, list[Any]] = {}
    for batch in batches(aligned):
        assert batch.probs_mnchw.nbytes <= max(BYTES, 3 * 64 * 36)
        parts.setdefault(batch.rows.start, []).append(batch)
    assert sum(len(each) > 1 for each in parts.values()) > 9
    for row, cut in parts.items():
        at = row - whole[row].rows.start
        assert (np.concatenate([one.labels_nhw for one in cut], 1)[0] == whole[row].labels_nhw[at]).all()
        probs = np.concatenate([one.cut(one.probs_mnchw) for one in cut], 3)
        assert (probs[:, 0] == whole[row].probs_mnchw[:, at]).all()
        for one in cut[1:-1]:  # the row above and the row below
            assert (one.inside.start, one.probs_mnchw.shape[3] - one.inside.stop) == (1, 1)


@pytest.mark.parametrize("neighbourhood", [False, True])
def test_the_same_pixels_are_fitted(many_sizes: Any, in_strips: Callable[[], None], neighbourhood: bool) -> None:
    aligned = align(many_sizes.members)
    whole = gather_fit_data(aligned, neighbourhood=neighbourhood)
    assert whole.pixels == sum(height * width for height, width in aligned.sizes)
    in_strips()
    cut = gather_fit_data(aligned, neighbourhood=neighbourhood)
    for name in ("probs_mcp", "image_p", "labels_p", "group_n", "near_mcp"):
        assert np.array_equal(getattr(cut, name), getattr(whole, name)), name


@pytest.mark.parametrize("method", METHODS)
def test_every_method_scores_strips_as_whole_images(
    many_sizes: Any, in_strips: Callable[[], None], method: str, tmp_path: Path
) -> None:
    whole = combine(method=method, folds=2, runs=many_sizes.runs, decide="offsets")
    in_strips()
    cut = combine(method=method, folds=2, runs=many_sizes.runs, decide="offsets")
    assert cut.fitted.pool.to_json() == whole.fitted.pool.to_json()
    assert (cut.fitted.members_mnkk == whole.fitted.members_mnkk).all()
    expected, found = whole.fitted.crossfit.arrays(), cut.fitted.crossfit.arrays()
    assert (found["confusions"] == expected["confusions"]).all()
    assert (found["boundary"] == expected["boundary"]).all()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-6, err_msg=name)
    # The member's own table was made from whole images, one by one.
    assert (whole.fitted.members_mnkk[0] == many_sizes.members[0].confusions()).all()


def test_all_methods(many_sizes: Any, in_strips: Callable[[], None]) -> None:
    whole = combine_all(folds=2, runs=many_sizes.runs)
    assert set(whole["failed"].fillna("")) == {""}
    in_strips()
    cut = combine_all(folds=2, runs=many_sizes.runs)
    assert cut["method"].tolist() == whole["method"].tolist()
    np.testing.assert_allclose(cut["miou"], whole["miou"])
    np.testing.assert_allclose(cut["log_loss"][:-1], whole["log_loss"][:-1], rtol=1e-6)


def test_an_explanation_of_strips_is_that_of_whole_images(
    many_sizes: Any, in_strips: Callable[[], None], tmp_path: Path
) -> None:
    ensemble = combine(method="stacking(neighbourhood=3)", folds=2, runs=many_sizes.runs).ensemble
    whole = explain(ensemble)
    in_strips()
    cut = explain(ensemble)
    assert (cut.ensemble_kk == whole.ensemble_kk).all()
    assert (cut.average_kk == whole.average_kk).all()
    assert (cut.pairs.disagreement_mm == whole.pairs.disagreement_mm).all()
    assert (cut.contribution.shapley.value == whole.contribution.shapley.value).all()
    assert cut.risks["entropy"].aurc == pytest.approx(whole.risks["entropy"].aurc)
    assert [one.id for one in cut.images] == [one.id for one in whole.images]
    for one, other in zip(cut.images, whole.images, strict=True):
        assert (one.labels_hw == other.labels_hw).all()
        assert (one.decided_hw == other.decided_hw).all()
        np.testing.assert_allclose(one.information_hw, other.information_hw, atol=1e-5)
    write_explanation(cut, tmp_path / "explained")
    assert (tmp_path / "explained" / "uncertainty.png").is_file()


def test_the_report_shows_each_image_in_its_shape(
    many_sizes: Any, in_strips: Callable[[], None], tmp_path: Path
) -> None:
    combine(method="learned", folds=2, runs=many_sizes.runs)
    data = read_report_data(many_sizes.runs)
    whole = browse(data)
    sizes = dict(zip(many_sizes.members[0].store().ids, many_sizes.members[0].store().sizes, strict=True))
    assert len({image.ratio for image in whole.images}) > 4
    for image in whole.images:
        height, width = sizes[image.id]
        assert image.ratio == width / height
        assert image.photograph
    in_strips()
    assert browse(data) == whole
    page = write_report(many_sizes.runs, tmp_path / "report.html").path.read_text()
    assert all(f"--ratio:{image.ratio:.4f};" in page for image in whole.images)


def test_comparison_masks_and_checksums(many_sizes: Any, in_strips: Callable[[], None]) -> None:
    combine(method="learned", folds=2, runs=many_sizes.runs)
    aligned, ids = align(many_sizes.members), open_dataset(many_sizes.members[0].settings.data).ids
    assert len(compare_runs([member.path for member in many_sizes.members]).differences) == 3 * 4
    whole = contradicted_masks(aligned, ids)
    in_strips()
    assert contradicted_masks(aligned, ids) == whole
    found = verify(many_sizes.runs)
    assert (found.members, found.ensembles, found.problems) == (3, 1, [])


def test_stores_of_other_sizes_are_refused(many_sizes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = many_sizes.members[:2]
    turned = replace(other.store(), sizes=tuple(size[::-1] for size in other.store().sizes))
    stores = {one.name: one.store(), other.name: turned}
    monkeypatch.setattr(Member, "store", lambda self, split: stores[self.name])
    with pytest.raises(EnsError, match=f"{other.name} stores images of other sizes than {one.name}; train one of the"):
        align([one, other])


def test_images_cut_on_disk_give_the_same_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many_sizes: Any
) -> None:
    whole, files = combine(method="learned", folds=2, runs=many_sizes.runs), len(many_sizes.members[0].store().chunks)
    monkeypatch.setattr(chunks, "CUT_BYTES", 2000)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 700)
    made = members_of_many_sizes(tmp_path / "cut")
    assert len(made.members[0].store().chunks) > 2 * files
    monkeypatch.setattr(alignment, "BATCH_BYTES", BYTES)
    cut = combine(method="learned", folds=2, runs=made.runs)
    assert cut.fitted.pool.to_json() == whole.fitted.pool.to_json()
    assert (cut.fitted.crossfit.confusions_nkk == whole.fitted.crossfit.confusions_nkk).all()
    assert verify(made.runs).problems == []

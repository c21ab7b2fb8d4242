"""Evaluating: the right images, native pixels, the scores of `evaluation`, stored as a row of the table."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import ensemble
from ensemble import results
from ensemble.combining.combine import combine
from ensemble.combining.pool import Pool
from ensemble.config import DataSettings, Decide
from ensemble.core.errors import EnsError, UnknownName
from ensemble.data.formats.image_files import read_mask
from ensemble.data.write_split import write_split
from ensemble.evaluation import confusion_per_image, mean_iou
from ensemble.evaluation.strips import Strip
from ensemble.inference.evaluate import Evaluated, check_table, decided_pieces, evaluate, write_table
from ensemble.inference.pooled_networks import Piece
from ensemble.inference.write_masks import predict
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.member import Member
from ensemble.runs.remove import remove
from ensemble.runs.tables import read_tables
from ensemble.runs.verify import verify

DESCRIPTION = """
void = 0
[train]
images = "images/{id}.png"
masks = "masks/{id}.png"
[test]
images = "new/{id}.png"
masks = "truth/{id}.png"
[classes]
soil = 1
rock = 2
ripples = 3
"""


@pytest.fixture
def runs(tiny_runs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_runs, tmp_path / "runs"))


@pytest.fixture
def member(runs: Path) -> Member:
    return Member.open(sorted((runs / "members").iterdir())[1])


def folder(root: Path, arrays: dict[str, Any], rows: range, *, copies: range = range(0)) -> Path:
    """Write images of several sizes, which no member has seen, and copies of images under another name."""
    names = (root / "images", root / "masks")
    for name in names:
        name.mkdir(parents=True)
    for row in [*rows, *copies]:
        image, mask = arrays["training_set"][row]
        if row in rows:
            image, mask = (part[: 32 - 4 * (row % 3), ::-1] for part in (image, mask))
        for place, pixels in zip(names, (image, mask), strict=True):
            Image.fromarray(pixels).save(place / f"photo {row}.png")
    (root / "classes.txt").write_text("background\nsoil\nrock\nripples\n")
    return root


def test_the_held_out_images_of_its_data_give_the_stored_score(member: Member, runs: Path, tiny_npz: Path) -> None:
    found = ensemble.evaluate(member.name[:16], tiny_npz, device="cpu", runs=runs)
    assert (found.settings.part, found.scores["protocol"]) == ("validation", "hold-out")
    assert (found.scores["miou_low"], member.scores["miou_low"]) == (None, None)  # too few groups
    for name in ("miou", "dice", "log_loss", "ece", "images", "groups"):
        assert found.scores[name] == pytest.approx(member.scores[name], abs=2e-3), name
    tables = read_tables(found.path)
    assert sorted(tables.ids) == sorted(member.store().ids)
    assert found.path == runs / "evaluations" / found.name
    notes = list[str]()
    assert evaluate(member.path, tiny_npz, device="cpu", runs=runs, on_note=notes.append).path == found.path
    assert notes == ["these are the validation images, which score it in `ens results` already; this is no other split"]
    (said,) = (note for note in results.notes(results.load(runs)) if "once more" in note)
    assert said.startswith(f"{found.name}: `ens evaluate` scored the validation images of the model once more. This is")
    assert not any("once more" in note for note in results.notes(results.load(runs, evaluations=False)))


def test_training_images_are_never_scored(member: Member, runs: Path, tiny_npz: Path) -> None:
    text = "was trained on images of tiny.npz, so it cannot be scored on all of them; choose the part val or test"
    with pytest.raises(EnsError, match=text):
        evaluate(member.path, tiny_npz, part="all", device="cpu", runs=runs)
    with pytest.raises(EnsError, match=r"tiny\.npz has no labelled test images; choose the part val, or describe"):
        evaluate(member.path, tiny_npz, part="test", device="cpu", runs=runs)
    with pytest.raises(UnknownName, match="unknown part 'training'"):
        evaluate(member.path, tiny_npz, part="training", device="cpu", runs=runs)
    assert not (runs / "evaluations").exists()


def test_other_data_of_several_sizes_without_copies_of_training_images(
    member: Member, runs: Path, tiny_arrays: dict[str, Any], tmp_path: Path
) -> None:
    held = {int(name) for name in member.store().ids}
    copies = next(range(row, row + 2) for row in range(20) if not {row, row + 1} & held)
    data, notes = folder(tmp_path / "other", tiny_arrays, range(10, 24), copies=copies), list[str]()
    shutil.rmtree(tmp_path / "both", ignore_errors=True)
    found = evaluate(member.path, data, device="cpu", runs=runs, on_note=notes.append)
    left_out = [row for row in copies if row not in range(10, 24)]
    expected = f"{len(left_out)} images (photo {left_out[0]}, photo {left_out[1]})"
    assert notes[-1] == f"left out, because {member.name} was trained on copies of them: {expected}"
    assert (found.settings.part, found.scores["protocol"], found.scores["images"]) == ("test", "test", 14)
    predict(member.path, data / "images", tmp_path / "out", device="cpu")
    counts = np.zeros((3, 3), np.int64)
    for name in read_tables(found.path).ids:
        labels = read_mask(data / "masks" / f"{name}.png").astype(int) - 1
        labels[labels < 0] = 255
        mask = read_mask(tmp_path / "out" / f"{name}.png").astype(int) - 1
        counts += confusion_per_image(labels[None], mask[None], 3)[0]
    assert found.scores["miou"] == pytest.approx(mean_iou(counts))
    only = folder(tmp_path / "only", tiny_arrays, range(0), copies=copies)
    with pytest.raises(EnsError, match=r"all 2 images of only are copies of images that .* was trained on"):
        evaluate(member.path, only, device="cpu", runs=runs)


def test_copies_of_validation_images_are_noted_and_left_out_if_the_model_was_fitted_on_them(
    member: Member, runs: Path, tiny_arrays: dict[str, Any], tmp_path: Path
) -> None:
    held = next(int(name) for name in member.store().ids if int(name) not in range(10, 14))
    data = folder(tmp_path / "other", tiny_arrays, range(10, 14), copies=range(held, held + 1))
    notes = list[str]()
    found = evaluate(member.path, data, device="cpu", runs=runs, on_note=notes.append)
    assert found.scores["images"] == 5
    assert notes == [
        f"validation images, which score {member.name} in `ens results` already, have copies in other: 1 image"
    ]
    learned = combine(method="learned", calibrate="both", runs=runs).ensemble
    found = evaluate(learned.path, data, device="cpu", runs=runs, on_note=notes.append)
    assert found.scores["images"] == 4
    assert notes[1:] == [
        f"left out, because {learned.name} was trained or fitted on copies of them: 1 image (photo {held})"
    ]


def test_an_epoch_that_was_selected_on_validation_images_stays_marked(
    train_tiny: Callable[..., Member], runs: Path, tiny_npz: Path
) -> None:
    best = train_tiny(runs, keep="best", epochs=2)
    found = evaluate(best.path, tiny_npz, device="cpu", runs=runs)
    assert found.scores["selected"] is True


def test_the_labelled_test_images_of_described_data(
    train_tiny: Callable[..., Member], tiny_arrays: dict[str, Any], tmp_path: Path
) -> None:
    folder(tmp_path, tiny_arrays, range(0), copies=range(16))
    other = folder(tmp_path / "other", tiny_arrays, range(16, 24))
    (other / "images").rename(tmp_path / "new")
    (other / "masks").rename(tmp_path / "truth")
    for name in ("new", "truth"):
        shutil.copy(tmp_path / name / "photo 20.png", tmp_path / name / "photo 24.png")
    (tmp_path / "data.toml").write_text(DESCRIPTION)
    member, notes = train_tiny(tmp_path / "runs", data=tmp_path / "data.toml", epochs=1), list[str]()
    found = evaluate(member.path, tmp_path / "data.toml", device="cpu", runs=tmp_path / "runs", on_note=notes.append)
    assert (found.settings.part, found.scores["images"], found.scores["groups"]) == ("test", 9, 8)
    described = (tmp_path / "data.toml").read_text()
    (tmp_path / "data.toml").write_text("group_pattern = 'photo (.)'\n" + described)
    grouped = evaluate(member.path, tmp_path / "data.toml", part="test", device="cpu", runs=tmp_path / "runs")
    assert grouped.scores["groups"] == 2  # photos 1. and 2.
    (tmp_path / "data.toml").write_text(described)
    held = evaluate(member.path, tmp_path / "data.toml", part="val", device="cpu", runs=tmp_path / "runs")
    assert held.scores["images"] == len(member.store().ids)


def test_evaluations_are_rows_marked_as_test(
    member: Member, runs: Path, tiny_arrays: dict[str, Any], tmp_path: Path
) -> None:
    before = results.load(runs)
    assert set(before["part"]) == {"validation"}
    assert "part" not in results.display(before)
    found = evaluate(member.path, folder(tmp_path / "other", tiny_arrays, range(10)), device="cpu", runs=runs)
    table = results.load(runs)
    row: Any = table[table["name"] == found.name].iloc[0]
    assert (row["part"], row["kind"], row["loss"], row["data"]) == (
        "test",
        "member",
        member.settings.loss.name,
        "other",
    )
    assert row["miou"] == found.scores["miou"]
    assert results.where(table, "part == 'test'")["name"].tolist() == [found.name]
    assert results.display(table)["part"].tolist().count("test") == 1
    assert len(results.load(runs, evaluations=False)) == len(before)
    assert (verify(runs).evaluations, verify(runs).problems) == (1, [])
    (found.path / "scores.json").write_text("{}")
    (problem,) = verify(runs).problems
    assert problem.endswith(f"remove it with `ens remove {found.name} --runs {runs}` and evaluate it again")
    assert remove(found.name, runs).paths == (found.path,)
    assert not found.path.exists()


def test_a_row_names_the_augmentation_that_was_asked_for(
    member: Member, runs: Path, tiny_arrays: dict[str, Any], tmp_path: Path
) -> None:
    data = folder(tmp_path / "other", tiny_arrays, range(10))
    names = [evaluate(member.path, data, tta=tta, device="cpu", runs=runs).name for tta in (None, "flips")]
    table = results.load(runs).set_index("name")
    assert [table.loc[name, "tta"] for name in names] == [member.settings.tta, "flips"]
    assert member.settings.tta != "flips"


def test_an_ensemble_is_scored_as_it_decides(
    runs: Path, tiny_npz: Path, tiny_arrays: dict[str, Any], tmp_path: Path
) -> None:
    done, notes = combine(method="average", folds=2, runs=runs), list[str]()
    found = evaluate(done.ensemble.path, tiny_npz, device="cpu", runs=runs, on_note=notes.append)
    assert found.scores["protocol"] == "hold-out"  # nothing is fitted
    assert notes.pop().endswith("this is no other split")
    assert found.scores["miou"] == pytest.approx(done.ensemble.scores["miou"], abs=0.02)  # of rounded probabilities
    learned = combine(method="learned", calibrate="both", runs=runs)
    found = evaluate(learned.ensemble.path, tiny_npz, device="cpu", runs=runs, on_note=notes.append)
    assert found.scores["protocol"] == "in-sample"
    assert notes == [
        "it was fitted on these images, so its scores are in-sample; `ens results` has cross-fitted scores"
    ]
    (said,) = (note for note in results.notes(results.load(runs)) if "in-sample" in note)
    assert said.startswith(f"The model of {found.name} was fitted on the images that are scored (in-sample)")
    (member, _) = learned.ensemble.members()
    found = evaluate(member.path, tiny_npz, device="cpu", runs=runs, decide="offsets", on_note=notes.append)
    assert (found.scores["protocol"], len(notes)) == ("in-sample", 2)
    other = evaluate(done.ensemble.path, folder(tmp_path / "o", tiny_arrays, range(8)), device="cpu", runs=runs)
    table = results.load(runs)
    row: Any = table[table["name"] == other.name].iloc[0]
    assert (row["architecture"], row["decision"]) == ("average of 2", "argmax")
    asked = evaluate(done.ensemble.path, tiny_npz, device="cpu", runs=runs, decide="expected-iou", on_note=notes.append)
    table = results.load(runs)
    assert table[table["name"] == asked.name]["decision"].tolist() == ["expected-iou"]


def test_an_ensemble_that_removes_small_objects_is_scored_without_them(
    runs: Path, tiny_npz: Path, tiny_arrays: dict[str, Any], tmp_path: Path
) -> None:
    done = combine(method="average", smallest_object=30, folds=2, runs=runs)
    found = evaluate(done.ensemble.path, tiny_npz, device="cpu", runs=runs)
    assert found.scores["miou"] == pytest.approx(done.ensemble.scores["miou"], abs=0.02)  # of rounded probabilities
    assert found.settings.decision == "argmax, smallest object 30"
    data = folder(tmp_path / "o", tiny_arrays, range(8))
    scored = evaluate(done.ensemble.path, data, device="cpu", runs=runs)
    predict(done.ensemble.path, data / "images", tmp_path / "masks", device="cpu", runs=runs)
    tables = read_tables(scored.path)
    for row, name in enumerate(tables.ids):
        mask = read_mask(tmp_path / "masks" / f"{name}.png")
        truth = read_mask(data / "masks" / f"{name}.png")
        labels = np.where(truth == 0, 255, truth - 1).astype(np.uint8)[None]
        assert (confusion_per_image(labels, mask[None] - 1, 3)[0] == tables.confusions_nkk[row]).all()


def test_sizes_that_were_chosen_for_another_decision_are_noted(runs: Path, tiny_npz: Path, tmp_path: Path) -> None:
    path = combine(method="average", smallest_object="auto", folds=2, runs=runs).ensemble.path
    cases: list[tuple[Decide | None, bool]] = [(None, False), ("argmax", False), ("expected-dice", True)]
    for decide, heard in cases:
        for call in (
            partial(evaluate, path, tiny_npz, runs=runs),
            partial(predict, path, tiny_npz, tmp_path / f"{decide}.npz", runs=runs),
        ):
            notes = list[str]()
            call(device="cpu", decide=decide, on_note=notes.append)
            assert any("were chosen for decide argmax, not for expected-dice;" in note for note in notes) == heard


@settings(deadline=None)
@given(st.integers(0, 99), st.lists(st.integers(1, 20), min_size=1, max_size=8), st.integers(1, 25))
def test_strips_are_decided_as_the_whole_image(seed: int, heights: list[int], smallest: int) -> None:
    probs = np.random.default_rng(seed).dirichlet([1, 1, 1], (1, sum(heights), 9)).transpose(0, 3, 1, 2)
    probs = probs.astype(np.float32)
    pool = Pool.uniform(1, 3).keeping(np.array([1, smallest, 3]))
    tops = [sum(heights[:place]) for place in range(len(heights))]
    pieces = [
        Piece(range(1), probs[:, :, top : top + rows], 0.0, Strip(top, sum(heights)))
        for top, rows in zip(tops, heights, strict=True)
    ]
    found = list(decided_pieces(iter(pieces), pool))
    assert [piece.strip for piece, _ in found] == [piece.strip for piece in pieces]
    np.testing.assert_array_equal(np.concatenate([decided for _, decided in found], axis=1), pool.decide(probs))
    ((_, whole),) = decided_pieces([Piece(range(1), probs, 0.0)], pool)
    np.testing.assert_array_equal(whole, pool.decide(probs))


def test_a_member_with_folds_has_seen_every_image(
    train_tiny: Callable[..., Member], tiny_npz: Path, tmp_path: Path
) -> None:
    member = train_tiny(tmp_path / "runs", folds=2, epochs=1)
    with pytest.raises(EnsError, match=r"the 2 networks of .* have together seen every image of tiny\.npz"):
        evaluate(member.path, tiny_npz, device="cpu", runs=tmp_path / "runs")


def test_a_class_that_the_model_does_not_know_is_named(
    member: Member, runs: Path, tiny_arrays: dict[str, Any], tmp_path: Path
) -> None:
    data = folder(tmp_path / "other", tiny_arrays, range(8))
    (data / "classes.txt").write_text("background\nsoil\nsnow\nripples\n")
    with pytest.raises(EnsError, match=r"other has the class 'snow' \(id 2\), but .* knows 1 soil, 2 rock, 3 ripples"):
        evaluate(member.path, data, device="cpu", runs=runs)
    (data / "classes.txt").unlink()  # without names the ids count
    assert evaluate(member.path, data, device="cpu", runs=runs).scores["images"] == 8


def test_a_class_that_only_test_masks_hold_is_named(
    member: Member, runs: Path, tiny_arrays: dict[str, Any], tmp_path: Path
) -> None:
    for source, names in ((tmp_path / "a", ("images", "masks")), (tmp_path / "b", ("new", "truth"))):
        folder(source, tiny_arrays, range(16))
        for before, after in zip(("images", "masks"), names, strict=True):
            (source / before).rename(tmp_path / after)
    with Image.open(tmp_path / "truth" / "photo 9.png") as mask:
        pixels = np.array(mask)
    pixels[0, :3] = 4
    Image.fromarray(pixels).save(tmp_path / "truth" / "photo 9.png")
    (tmp_path / "data.toml").write_text(DESCRIPTION + "snow = 4\n")
    with pytest.raises(EnsError, match=r"but that of photo 9 holds 'snow' \(id 4\); make it void in the description"):
        evaluate(member.path, tmp_path / "data.toml", part="test", device="cpu", runs=runs)


def test_a_class_with_the_id_0_that_the_model_does_not_know_is_named(
    train_tiny: Callable[..., Member], runs: Path, tiny_arrays: dict[str, Any], tmp_path: Path
) -> None:
    own, other = (folder(tmp_path / name, tiny_arrays, range(16)) for name in ("own", "other"))
    (other / "classes.txt").write_text("sky\nsoil\nrock\nripples\n")
    member = train_tiny(runs, data=own, background="class", crop="32x32", epochs=1)
    with pytest.raises(
        EnsError, match=r"other has the class 'sky' \(id 0\), but .* knows 0 background, 1 soil, 2 rock"
    ):
        evaluate(member.path, other, part="all", device="cpu", runs=runs)


def test_the_scores_as_a_table(member: Member, runs: Path, tiny_npz: Path, tmp_path: Path) -> None:
    found = evaluate(member.path, tiny_npz, device="cpu", runs=runs)
    write_table(found, tmp_path / "scores.csv")
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert lines[0] == "score,class,value,low,high"
    assert lines[1].startswith(f"miou,,{found.scores['miou']},")
    assert f"dice_per_class,rock,{found.scores['dice_per_class']['rock']},," in lines
    rock = [found.scores[f"object_f1_per_class{end}"]["rock"] for end in ("", "_low", "_high")]
    assert f"object_f1_per_class,rock,{','.join('' if one is None else str(one) for one in rock)}" in lines
    assert f"ece_per_class,rock,{found.scores['ece_per_class']['rock']},," in lines
    assert any(line.startswith(f"image_miou,,{found.scores['image_miou']},") for line in lines)
    with pytest.raises(EnsError, match=r"expected a new file for the scores, but .*scores\.csv exists"):
        check_table(tmp_path / "scores.csv")
    with pytest.raises(EnsError, match=r"expected a CSV file for the scores, got .*scores\.xlsx; give FILE\.csv"):
        check_table(tmp_path / "scores.xlsx")


def test_a_vault_is_never_trained_on_and_each_look_is_recorded_for_good(
    train_tiny: Callable[..., Member], tiny_npz: Path, tmp_path: Path
) -> None:
    runs, table = tmp_path / "runs", tmp_path / "split.csv"
    counts = write_split(DataSettings(source=str(tiny_npz)), table, vault=0.2)
    with table.open() as stream:
        parts = {row["id"]: row["part"] for row in csv.DictReader(stream)}
    vault = {name for name, part in parts.items() if part == "vault"}
    one, two = (train_tiny(runs, split=str(table), loss=loss) for loss in ("ce", "dice"))
    assert set(one.settings.data.vault) == vault
    assert set(one.store().ids) == {name for name, part in parts.items() if part == "val"}

    def look(model: Member | Ensemble) -> tuple[Evaluated, str]:
        notes: list[str] = []
        found = evaluate(model.path, tiny_npz, part="vault", device="cpu", runs=runs, on_note=notes.append)
        assert set(read_tables(found.path).ids) == vault
        assert (found.settings.part, found.scores["images"]) == ("vault", counts["vault"])
        return found, next(note for note in notes if "the vault" in note)

    first, note = look(one)
    assert note == "the vault is opened for the first time; the next score on it will not be a first look"
    assert first.scores["protocol"] == "vault, first look"
    assert [each["model"] for each in first.scores["looks"]] == [one.name]
    ensemble.remove([first.name], runs)
    again, note = look(one)
    day, hour = first.scores["looks"][0]["looked"][:19].split("T")
    assert (
        note == f"not the first look at the vault, nor the first of {one.name}; before: {one.name} ({day} {hour} UTC)"
    )
    assert (again.scores["protocol"], again.scores["miou"]) == ("vault, look 2", first.scores["miou"])
    _, note = look(two)
    assert note.startswith(f"not the first look at the vault, though the first of {two.name}; before: {one.name} (")
    both = ensemble.combine([one, two], method="average", folds=2, runs=runs)
    third, _ = look(both.ensemble)
    assert [each["model"] for each in third.scores["looks"]] == [one.name, one.name, two.name, both.ensemble.name]
    assert "vault" in list(results.load(runs)["part"])


def test_without_a_vault_the_way_to_one_is_named(member: Member, runs: Path, tiny_npz: Path) -> None:
    with pytest.raises(
        EnsError, match=r"no image of tiny\.npz was set aside .* write a split with a vault by `ens data split`"
    ):
        evaluate(member.path, tiny_npz, part="vault", device="cpu", runs=runs)
    assert not (runs / "looks").exists()

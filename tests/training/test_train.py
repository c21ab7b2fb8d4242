"""What a trained member holds: out-of-fold probabilities, scores, the epoch kept, and how training fails."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from ensemble.combining.combine import combine
from ensemble.config import DataSettings, TrainSettings
from ensemble.core.errors import EnsError
from ensemble.core.files import read_json
from ensemble.data import Dataset, open_dataset, split_data
from ensemble.inference import member_network
from ensemble.inference.member_network import load_member
from ensemble.inference.network import infer, load_networks, scored
from ensemble.runs.member import Member
from ensemble.runs.store import decode, encode
from ensemble.training import loop, trainer
from ensemble.training.trainer import Averaging, Trainer, clip_gradients, standard_of, start_training

Train = Callable[..., Member]


@pytest.fixture(scope="module")
def folded(train_tiny: Train, tmp_path_factory: pytest.TempPathFactory) -> Member:
    """A member of three folds."""
    return train_tiny(tmp_path_factory.mktemp("folded") / "runs", folds=3)


@pytest.fixture(scope="module")
def dataset(tiny_npz: Path) -> Dataset:
    return open_dataset(DataSettings(source=str(tiny_npz)))


def stored(member: Member, split: str) -> tuple[list[str], NDArray[np.float32]]:
    store = member.store(split)
    return list(store.ids), np.concatenate([probs for _, probs, _ in store.batches()])


def as_stored(probs_nchw: NDArray[np.float32]) -> NDArray[np.float32]:
    return decode(encode(probs_nchw))


def test_every_image_is_predicted_by_the_network_that_did_not_see_it(folded: Member, dataset: Dataset) -> None:
    assert dataset.groups is not None
    split = split_data(dataset.ids, dataset.groups, dataset.counts_nk, folded.settings.data)
    ids, probs = stored(folded, "validation")
    networks, start = load_networks(folded), 0
    for fold, rows in enumerate(split.validation):
        assert ids[start : start + len(rows)] == [str(row) for row in rows]
        here = probs[start : start + len(rows)]
        for other, network in enumerate(networks):
            own = scored(infer(network, dataset.images(rows.tolist()), folded.settings, "cpu"), 3).numpy()
            assert np.array_equal(as_stored(own), here) == (other == fold)
        start += len(rows)
    assert start == len(ids) == 24


def test_the_store_keeps_labels_groups_and_what_to_check_before_combining(folded: Member, dataset: Dataset) -> None:
    store = folded.store()
    labels = np.concatenate([labels for _, _, labels in store.batches() if labels is not None])
    np.testing.assert_array_equal(labels, dataset.labels([int(text) for text in store.ids]))
    assert list(store.groups) == [str(int(text) // 2) for text in store.ids]
    assert (store.data_hash, store.split_hash) == (folded.facts.data_hash, folded.facts.split_hash)
    assert (store.meta["background"], store.split) == ("void", "validation")


def test_test_images_get_the_mean_of_the_folds(folded: Member, dataset: Dataset) -> None:
    ids, probs = stored(folded, "test")
    assert ids == list(dataset.test_ids)
    mean = load_member(folded, "cpu", None, folded.facts.values).of(dataset.test_images(range(5)))
    np.testing.assert_array_equal(probs, as_stored(mean))
    assert not folded.store("test").has_labels


def test_scores_are_those_of_the_probabilities_before_they_are_stored(folded: Member) -> None:
    confusion = np.zeros((3, 3), np.int64)
    for _, probs, labels in folded.store().batches():
        assert labels is not None
        known = labels != 255
        np.add.at(confusion, (labels[known], probs.argmax(1)[known]), 1)
    np.testing.assert_array_equal(folded.confusions().sum(0), confusion)
    iou = np.diag(confusion) / (confusion.sum(0) + confusion.sum(1) - np.diag(confusion))
    assert folded.scores["miou"] == pytest.approx(iou.mean())
    assert folded.scores["miou"] == pytest.approx(folded.scores["miou_keras"])
    assert list(folded.scores["iou"]) == ["soil", "rock", "ripples"]
    assert (folded.scores["protocol"], folded.scores["selected"]) == ("out-of-fold", False)
    assert (folded.scores["images"], folded.scores["groups"]) == (24, 12)


def test_the_history_has_a_row_per_fold_and_epoch(folded: Member) -> None:
    with (folded.path / "history.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["fold"], row["epoch"]) for row in rows] == [(str(f), str(e)) for f in range(3) for e in (1, 2)]
    assert all(float(row["train_loss"]) > 0 and 0 <= float(row["val_miou"]) <= 1 for row in rows)
    assert folded.status["training_seconds"] == pytest.approx(sum(float(row["seconds"]) for row in rows))


def test_the_status_says_what_a_prediction_costs(folded: Member) -> None:
    facts, body = folded.facts, load_networks(folded)[0].body
    sizes: list[int] = []  # of each convolution: multiplications, worked out from the shapes that pass through it

    def count(conv: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        sizes.append(
            conv.weight.numel() * inputs[0].shape[2:].numel()
            if isinstance(conv, torch.nn.ConvTranspose2d)
            else conv.weight.numel() * output.shape[2:].numel()
        )

    for module in body.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        body(torch.zeros(1, facts.bands, facts.height, facts.width))
    assert len(sizes) > 2
    assert folded.status["gflops"] == pytest.approx(2 * sum(sizes) / 1e9, rel=1e-9)
    assert 0 < folded.status["latency_ms"] < 1000 * folded.status["seconds"]


def test_a_finished_directory_holds_the_files_of_the_contract_and_no_more(folded: Member) -> None:
    names = {path.name for path in folded.path.iterdir()}
    weights = {f"weights-f{fold}.safetensors" for fold in range(3)}
    assert names == weights | {
        *("config.json", "status.json", "history.csv", "scores.json", "confusions.npz"),
        *("environment.json", "log.txt", "probabilities"),
    }
    assert {path.name for path in (folded.path / "probabilities").iterdir()} == {"validation", "test"}
    assert read_json(folded.path / "environment.json")["packages"]["torch"]


def test_a_trained_member_is_opened_at_once_and_not_touched(train_tiny: Train, tiny_runs: Path) -> None:
    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in tiny_runs.rglob("*")}

    before, told = state(), list[str]()
    member = train_tiny(tiny_runs, progress=lambda task, *_: told.append(task))
    assert (member.path.parent, state(), told) == (tiny_runs / "members", before, [])


def test_it_learns(train_tiny: Train, tmp_path: Path) -> None:
    member = train_tiny(tmp_path / "runs", epochs=14, arch="unet-baseline(filters=4, depth=1)", lr=5e-2)
    with (member.path / "history.csv").open(newline="") as stream:
        losses = [float(row["train_loss"]) for row in csv.DictReader(stream)]
    assert losses[-1] < 0.5 * losses[0]
    assert member.scores["miou"] > 0.6


def test_a_member_without_test_images_has_no_test_store(
    train_tiny: Train, tiny_arrays: dict[str, Any], tmp_path: Path
) -> None:
    np.savez(tmp_path / "d.npz", **{key: array for key, array in tiny_arrays.items() if key != "test_set"})
    member = train_tiny(tmp_path / "runs", data=tmp_path / "d.npz", epochs=1)
    assert member.has_store("validation")
    assert not member.has_store("test")


def test_a_zero_weight_background_is_an_output_that_only_the_keras_metric_sees(
    train_tiny: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sees_background(*arguments: Any) -> Tensor:
        outputs = infer(*arguments)
        outputs[:, :, :8] = outputs[:, :, :8] * 0.01 + torch.tensor([0, 0, 0, 0.99])[:, None, None]
        return outputs

    monkeypatch.setattr(member_network, "infer", sees_background)
    member = train_tiny(tmp_path / "runs", background="zero-weight", epochs=1)
    assert (member.facts.classes, member.facts.outputs) == (("soil", "rock", "ripples"), 4)
    (network,) = load_networks(member)
    assert network(torch.zeros(1, 1, 32, 32)).shape == (1, 4, 32, 32)
    assert member.store().classes == ("soil", "rock", "ripples")
    with np.load(member.path / "confusions.npz") as tables:
        raw = tables["raw_confusions"].sum(0)
    assert raw.shape == (3, 4)
    assert raw[:, 3].sum() > 0
    hits, union = np.diag(raw[:, :3]), raw.sum(1) + raw[:, :3].sum(0) - np.diag(raw[:, :3])
    assert member.scores["miou_keras"] == pytest.approx((hits / union).sum() / 4)  # background: an IoU of 0
    assert member.scores["miou"] > member.scores["miou_keras"]


def test_a_background_class_is_learnt_and_scored_as_any_other(train_tiny: Train, tmp_path: Path) -> None:
    member = train_tiny(tmp_path / "runs", background="class", epochs=1)
    assert (member.facts.classes[0], member.facts.values, member.facts.outputs) == ("background", (0, 1, 2, 3), 4)
    assert member.facts.keras_ignored == 0
    assert member.confusions().sum() == member.scores["images"] * 32 * 32  # no void at all


def test_a_loss_that_explodes_is_reported_and_marked(train_tiny: Train, tmp_path: Path) -> None:
    for _ in range(2):  # also when it is tried again
        with pytest.raises(
            EnsError,
            match=r"the loss is no longer finite in epoch 1; lower lr \(now 1e\+30\) or use precision fp32",
        ):
            train_tiny(tmp_path / "runs", lr=1e30)
    (path,) = (tmp_path / "runs" / "members").iterdir()
    status = read_json(path / "status.json")
    assert status["state"] == "failed"
    assert "no longer finite" in status["error"]
    assert not list(path.glob("*.safetensors"))
    assert not list(path.glob("checkpoint*"))
    with pytest.raises(EnsError, match=r"is not finished \(state 'failed'\)"):
        Member.open(path)


def test_a_loss_that_is_nan_in_a_later_epoch_keeps_the_epochs_before(
    train_tiny: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    original = Trainer.step

    def step(self: Trainer, images: Tensor, labels: Tensor, number: int) -> Tensor:
        taken.append(number)
        return original(self, images, labels, number) * (float("nan") if number == 9 else 1)

    monkeypatch.setattr(Trainer, "step", step)
    with pytest.raises(EnsError, match="no longer finite in epoch 3"):
        train_tiny(tmp_path / "runs", epochs=3)
    monkeypatch.setattr(Trainer, "step", original)
    assert len(list((tmp_path / "runs" / "members").glob("*/checkpoint-f0.pt"))) == 1
    told: list[int] = []
    train_tiny(
        tmp_path / "runs", epochs=3, progress=lambda task, done, *_: told.append(done) if task == "training" else None
    )
    assert told[0] in (5, 9)  # the first step of the second or third epoch: not every short epoch has a checkpoint


@pytest.mark.parametrize(("keep", "epoch"), [("best", 1), ("last", 2)])
def test_the_epoch_that_is_kept(
    train_tiny: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str, epoch: int
) -> None:
    seen: list[dict[str, Tensor]] = []

    def validation_miou(network: nn.Module, job: trainer.FoldJob) -> float:
        seen.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        return (0.2, 0.9, 0.5)[len(seen) - 1]

    monkeypatch.setattr(loop, "validation_miou", validation_miou)
    member = train_tiny(tmp_path / "runs", epochs=3, keep=keep)
    kept = load_file(member.path / "weights-f0.safetensors")
    same = [all(torch.equal(kept[name], tensor) for name, tensor in state.items()) for state in seen]
    assert same == [number == epoch for number in range(3)]
    assert member.scores["selected"] is (keep == "best")
    assert member.scores["miou"] not in (0.2, 0.9, 0.5)  # scored anew with the weights kept


def test_the_average_moves_by_one_minus_the_decay_and_copies_counters() -> None:
    average, network = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([3.0, 5.0]))
        network.running_mean = torch.tensor([1.0, -1.0])
        network.num_batches_tracked = torch.tensor(7)
    averaging = Averaging(average, network)
    averaging.update(0.75)
    assert average.weight.tolist() == [1.5, 2.0]
    assert average.running_mean is not None
    assert average.running_mean.tolist() == [0.25, -0.25]
    assert average.num_batches_tracked == 7
    network.running_mean = torch.tensor([2.0, 4.0])  # another tensor, as a plug-in may assign one
    averaging.update(0.0)
    assert average.running_mean.tolist() == [2.0, 4.0]
    assert average.weight.tolist() == [3.0, 5.0]


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 1e4, float("inf"), float("nan")])
def test_gradients_are_clipped_as_by_torch(scale: float) -> None:
    networks = [nn.Linear(3, 2), nn.Linear(3, 2)]
    for network in networks:
        network.weight.grad = scale * torch.arange(6.0).reshape(2, 3)  # the bias has none
    clip_gradients(list(networks[0].parameters()), 1.0)
    nn.utils.clip_grad_norm_(networks[1].parameters(), 1.0)
    assert networks[0].weight.grad is not None
    assert networks[1].weight.grad is not None
    assert torch.equal(networks[0].weight.grad.nan_to_num(7), networks[1].weight.grad.nan_to_num(7))


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_norms_and_biases_are_not_decayed_and_the_images_are_standardised(
    tiny_npz: Path, dataset: Dataset, tmp_path: Path, optimiser: Any
) -> None:
    from ensemble.training.plan import plan_member

    asked = TrainSettings(data=str(tiny_npz), arch="unet-baseline", loss="ce", optimiser=optimiser, device="cpu")
    plan = plan_member(asked, tmp_path)
    trainer = start_training(plan.job(0, 1))
    groups = trainer.optimiser.param_groups
    assert [group["weight_decay"] for group in groups] == [1e-2, 0, *[1e-2] * (optimiser == "muon")]
    assert all((p.ndim > 1) == (group["weight_decay"] > 0) for group in groups for p in group["params"])
    assert sum(len(group["params"]) for group in groups) == len(list(trainer.network.parameters()))
    pixels = np.asarray(dataset.images(plan.training_rows(0).tolist()), np.float64) / 255
    assert float(trainer.average.mean_c) == pytest.approx(pixels.mean(), rel=1e-5)  # pyright: ignore[reportArgumentType]
    assert float(trainer.network.std_c) == pytest.approx(pixels.std(), rel=1e-5)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["imagenet", "half"])
def test_pixels_are_standardised_as_published_weights_expect(
    tiny_npz: Path, tmp_path: Path, name: str, train_tiny: Callable[..., Member]
) -> None:
    from timm.data import constants

    from ensemble.training.plan import plan_member

    kind = "DEFAULT" if name == "imagenet" else "INCEPTION"
    mean, std = (getattr(constants, f"IMAGENET_{kind}_{what}") for what in ("MEAN", "STD"))
    plan = plan_member(TrainSettings(data=str(tiny_npz), arch="unet-baseline", standardise=name), tmp_path)  # pyright: ignore[reportArgumentType]
    job = plan.job(0, 1)
    for bands in (1, 3, 4):
        found = standard_of(replace(job, facts=job.facts.model_copy(update={"bands": bands})))
        for given, wanted in zip(found, (mean, std), strict=True):
            values = list(wanted) if bands == 3 else [sum(wanted) / 3] * bands
            np.testing.assert_allclose(given.numpy(), values)
    network = load_networks(train_tiny(tmp_path, standardise=name, epochs=1))[0]
    assert float(network.mean_c) == pytest.approx(sum(mean) / 3)  # pyright: ignore[reportArgumentType]


def test_the_seed_decides_the_weights_and_folds_start_apart(tiny_npz: Path, tmp_path: Path) -> None:
    from ensemble.training.plan import plan_member

    def first_weights(seed: int, fold: int) -> Tensor:
        asked = TrainSettings(data=str(tiny_npz), arch="unet-baseline", loss="ce", folds=3, device="cpu", seed=seed)
        plan = plan_member(asked, tmp_path)
        return next(start_training(plan.job(fold, 1)).network.parameters()).detach().clone()

    torch.testing.assert_close(first_weights(0, 0), first_weights(0, 0), rtol=0, atol=0)
    assert not torch.equal(first_weights(0, 0), first_weights(1, 0))
    assert not torch.equal(first_weights(0, 0), first_weights(0, 1))


def test_class_weights_come_from_the_training_fold_only(
    tiny_npz: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ensemble.training.plan import plan_member

    given: list[list[int]] = []
    original = trainer.build_loss
    monkeypatch.setattr(
        trainer,
        "build_loss",
        lambda name, counts, options: given.append(counts.tolist()) or original(name, counts, options),
    )
    for background in ("void", "zero-weight"):
        asked = TrainSettings(
            data=str(tiny_npz), arch="unet-baseline", loss="weighted-ce", background=background, device="cpu"
        )
        plan = plan_member(asked, tmp_path)
        start_training(plan.job(0, 1))
    labels = dataset.labels(plan.split.training(0).tolist())  # pyright: ignore[reportPossiblyUnboundVariable]
    expected = np.bincount(labels[labels != 255], minlength=3).tolist()
    assert given == [expected, [*expected, 0]]


def test_members_of_every_background_share_a_split_and_combine(
    train_tiny: Callable[..., Member], tmp_path: Path
) -> None:
    members = [train_tiny(tmp_path, background=mode) for mode in ("void", "class", "zero-weight")]
    assert len({member.facts.split_hash for member in members}) == 1
    assert [len(member.facts.classes) for member in members] == [3, 4, 3]
    done = combine(members, method="average", runs=tmp_path)
    assert done.ensemble.classes == members[0].facts.classes
    # Void is not scored, whatever a member called it.
    assert done.fitted.crossfit.confusions_nkk.sum() == members[0].confusions().sum()

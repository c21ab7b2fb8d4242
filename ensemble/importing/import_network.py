"""Import a trained network: fit its weights to an architecture, predict with it, and write it as a member."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ensemble.config import DataSettings, slug
from ensemble.core.errors import EnsError
from ensemble.core.files import check_folder, write_bytes
from ensemble.core.locks import whole_folder
from ensemble.core.progress import Progress, no_progress
from ensemble.importing.claim import CLAIMED
from ensemble.importing.import_plan import UNKNOWN, choose_target
from ensemble.importing.network_plan import NetworkPlan, Numbers, plan_network
from ensemble.inference.hardware import torch_threads
from ensemble.runs.layout import HISTORY, weights_name
from ensemble.runs.member import Member
from ensemble.runs.status import finish_run, write_config
from ensemble.training.checkpoint import save_weights
from ensemble.training.predictions import predict_test, predict_validation, scored_rows
from ensemble.training.train import operations_of


@dataclass(frozen=True)
class ImportedNetwork:
    """Result of :func:`import_network`: the member, the plan it follows, and whether it is new."""

    member: Member
    plan: NetworkPlan
    new: bool


def import_network(
    weights: str | Path | Sequence[str | Path],
    *,
    arch: str,
    name: str | None = None,
    data: str | Path | DataSettings = "sample",
    like: str | Path | None = None,
    trained_on: str | Path | None = None,
    mean: Numbers = None,
    std: Numbers = None,
    loss: str = UNKNOWN,
    runs: str | Path = "runs",
    progress: Progress = no_progress,
    **settings: Any,
) -> ImportedNetwork:
    """Make a member of a network that was trained elsewhere, without training it.

    Its weights are checked against the architecture, it predicts the validation images of a split, and it becomes a
    member that predicts, is combined, bundled and exported like any other. The split is found as for
    `ensemble.import_member`. Which images the network was trained on is what the user says: the protocol of the score
    ends with "claimed".

    Args:
        weights: a file of tensors (.pth or .pt with a state dict, or .safetensors), or one for each fold, in the order
            of the folds. Python objects in a file are never loaded.
        arch: architecture with its options, such as ``unet(filters=24)``; load a plug-in of your own first.
        name: name of the member, by default that of the file; six digits of a hash of the content are appended.
        data: the labelled data as for training, or settings of the data and their split.
        like: member whose data settings and split are used, by name, unique beginning or path.
        trained_on: a CSV with the column ``id`` of the images that the network was trained on, or ``none`` if it saw
            no image of these data. By default it saw no validation image, which is your claim.
        mean: mean of the pixels that it was trained with, in 0..1: one number, or one for each band. By default that
            of the file if this toolkit wrote it, else 0.
        std: standard deviation of the pixels, likewise; by default that of the file, else 1.
        loss: loss for the results table.
        runs: folder for runs.
        progress: callback that receives the progress.
        **settings: ``crop``, ``input_size``, ``input_scale``, ``tta``, ``device`` and ``precision``, as for training.

    Returns:
        The member, with ``new=False`` if it was imported before.

    Raises:
        EnsError: weights that do not fit the architecture or the data, a claim that the data contradict, or another
            mistake; nothing is left behind.
    """
    files = [Path(one) for one in ([weights] if isinstance(weights, str | Path) else weights)]
    name = files[0].stem if name is None and files else name or ""
    if not slug(name):
        raise EnsError(f"expected a name with letters or digits, got '{name}'; try deeplab")
    data = data if isinstance(data, DataSettings) else str(data)
    target = choose_target(data, None if like is None else str(like), Path(runs), progress)
    plan = plan_network(
        files,
        name,
        target,
        arch=arch,
        loss=loss,
        trained_on=None if trained_on is None else str(trained_on),
        mean=mean,
        std=std,
        settings=settings,
        runs=Path(runs),
        progress=progress,
    )
    path = plan.plan.path
    if path.exists():
        return ImportedNetwork(Member.open(path), plan, new=False)
    check_folder(path)
    with whole_folder(path) as unfinished, torch_threads(plan.plan.settings.threads):
        _write(plan, unfinished, progress)
    return ImportedNetwork(Member.open(path), plan, new=True)


def _write(found: NetworkPlan, path: Path, progress: Progress) -> None:
    """Write all files of the member; the status is the last."""
    plan, networks = replace(found.plan, path=path), found.networks
    content = {"settings": plan.settings.model_dump(mode="json"), "data": plan.facts.model_dump(mode="json")}
    write_config(path, "member", content | {"imported": _provenance(found)}, found.plan.path.name)
    names = [weights_name(fold) for fold in range(len(networks))]
    for file, network in zip(names, networks, strict=True):
        save_weights(path / file, network.state_dict())
    each = networks * (len(plan.split.validation) // len(networks))  # one network predicts all folds, or each its own
    tally, latency_ms = predict_validation(plan, each, progress)
    predict_test(plan, networks, progress)
    groups = [plan.groups[row] for row in scored_rows(plan)]
    scores = tally.scores(groups, plan.facts.classes, plan.facts.keras_ignored)
    scores["selected"] = None  # it is unknown whether an epoch was selected on these images
    scores["protocol"] = ("out-of-fold" if len(plan.split.validation) > 1 else "hold-out") + CLAIMED
    write_bytes(path / HISTORY, b"fold,epoch,train_loss\n")  # it was trained elsewhere: no epochs are known
    cost = {"gflops": operations_of(networks[0], plan.dataset.sizes[0], plan), "latency_ms": latency_ms}
    finish_run(
        path,
        "member",
        scores,
        tally.arrays(),
        weights=names,
        seconds=time.perf_counter() - plan.started,
        parameters=plan.parameters,
        **cost,
    )


def _provenance(found: NetworkPlan) -> dict[str, Any]:
    """Return where the weights come from and what was said of them, for ``config.json``."""
    files = [weights.path.name for weights in found.weights]
    mean, std = (each.flatten().tolist() for each in (found.networks[0].mean_c, found.networks[0].std_c))
    about = {"weights": files, "digest": found.digest, "split_of": found.like}
    return about | {"claim": found.claim.text, "mean": mean, "std": std}

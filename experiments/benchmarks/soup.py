"""Is a soup, the mean of the weights of several members, worth a command? It is compared with what costs the same.

Usage: python experiments/benchmarks/soup.py mars.npz --out experiments/results/soup.csv
One member ("start") is trained for some epochs and then continued three times from its weights ("relative"), each time
with another seed, loss and augmentation, at half of the learning rate. "long" is one member that is trained for as many
epochs as start and relatives together, so that it costs what the soup costs; it has random weights of another seed, so
to the start it is a stranger. Systems made of these:

- "soup": the mean of the weights of the three relatives. The statistics of its batch norms are estimated again, as the
  mean over all batches of the training images.
- "greedy soup": relatives are added to the best one while the log-loss on the validation images falls. It is chosen on
  the images that score it, so its score is too high.
- "average": the mean of the probabilities of the relatives; it costs three predictions.
- "soup of strangers": the mean of the weights of start and long.

Scores are those of a grouped hold-out. Each row has the paired differences of its system to "long": mIoU and log-loss,
with intervals of 95 %. "barrier" is the log-loss halfway between the weights of two members, less the mean of theirs: a
soup of more than two has the largest one of its pairs. Weights lie in one basin if it is about zero. "epochs" are those
of all networks that a system needs, the start counted once.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import conditions, positive, write_table
from numpy.typing import NDArray
from torch import Tensor, nn

from ensemble.config import Component, MemberSettings, TrainSettings
from ensemble.data.augmentation.expression import resolve_augmentation
from ensemble.evaluation.calibration import log_loss_sums
from ensemble.evaluation.confusion import confusion_per_image
from ensemble.evaluation.paired import Draws, SampledScores, Total
from ensemble.inference.hardware import autocast, torch_threads
from ensemble.inference.network import Network, infer, to_tensor
from ensemble.losses import check_loss
from ensemble.training.batches import derive_seed, epoch_batches
from ensemble.training.plan import Plan, plan_member
from ensemble.training.trainer import start_training

RELATIVES = (("weighted-ce", "hflip"), ("ce", "hflip + scale"), ("0.5*dice + 0.5*ce", "hflip + photometric"))
BATCH = 32
Probabilities = NDArray[np.float32]
State = Mapping[str, Tensor]


def varied(settings: MemberSettings, seed: int, loss: str, augment: str) -> MemberSettings:
    """Return the settings of a relative."""
    name, options = check_loss(loss)
    tuning = settings.optimiser.model_copy(update={"lr": settings.optimiser.lr / 2})
    changes = {"seed": seed, "loss": Component(name=name, options=options), "optimiser": tuning}
    return settings.model_copy(update=changes | {"augmentation": resolve_augmentation(augment)})


def trained(plan: Plan, settings: MemberSettings, epochs: int, start: Network | None = None) -> Network:
    """Return the EMA of a network that is trained from random weights or from those of another."""
    job = replace(plan.job(0, epochs), settings=settings)
    trainer = start_training(job)
    if start is not None:
        for network in (trainer.network, trainer.average):
            network.load_state_dict(start.state_dict())
    trainer.network.train()
    for epoch in range(epochs):
        seed = derive_seed(settings.seed, 0, epoch)
        batches = epoch_batches(job.training, settings.batch_size, settings.augmentation, seed, settings.device)
        for step, (images_nchw, labels_nhw) in enumerate(batches):
            trainer.step(images_nchw, labels_nhw, epoch * job.steps + step)
    return trainer.average.eval()


def soup_of(networks: Sequence[Network], plan: Plan) -> Network:
    """Return the network with the mean of the weights, whose batch norms have statistics of the training images."""
    states = [network.state_dict() for network in networks]
    made = deepcopy(networks[0])
    made.load_state_dict({name: mean_of([state[name] for state in states]) for name in states[0]})
    norms = [module for module in made.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]  # pyright: ignore[reportPrivateUsage]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    rows, settings = plan.training_rows(0).tolist(), plan.settings
    rows = np.random.default_rng(0).permutation(rows).tolist()
    with torch.no_grad(), autocast(settings.device, settings.precision):
        for first in range(0, len(rows) - BATCH + 1, BATCH):
            made(to_tensor(plan.dataset.images(rows[first : first + BATCH]), settings.device))
    return made.eval()


def mean_of(tensors: Sequence[Tensor]) -> Tensor:
    """Return the mean of floating tensors; counters are those of the first."""
    return torch.stack(list(tensors)).mean(0) if tensors[0].is_floating_point() else tensors[0]


class Judge:
    """Scores of systems on the same images, groups and resamples."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.rows = plan, plan.split.validation[0].tolist()
        self.labels = plan.dataset.labels(self.rows)
        self.draws = Draws.of([plan.groups[row] for row in self.rows])

    def predicted(self, network: Network) -> Probabilities:
        """Return the probabilities of the validation images."""
        batches = [self.rows[first : first + BATCH] for first in range(0, len(self.rows), BATCH)]
        settings, images = self.plan.settings, self.plan.dataset.images
        return np.concatenate([infer(network, images(rows), settings, settings.device).numpy() for rows in batches])

    def counted(self, probs: Probabilities) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the confusion matrix and the sum of the losses of each image."""
        classes = probs.shape[1]
        return confusion_per_image(self.labels, probs.argmax(1), classes), log_loss_sums(probs, self.labels)

    def log_loss(self, probs: Probabilities) -> float:
        """Return the log-loss per labelled pixel."""
        confusions, losses_n = self.counted(probs)
        return float(losses_n.sum() / confusions.sum())

    def scores(self, probs: Probabilities) -> tuple[SampledScores, SampledScores]:
        """Return mIoU and log-loss with their resamples."""
        confusions, losses_n = self.counted(probs)
        pixels_n = confusions.sum((1, 2))

        def loss(total: Total) -> NDArray[np.float64]:
            return np.asarray(total(losses_n) / total(pixels_n))[..., None]

        return self.draws.iou(confusions), self.draws.scores(loss)


def greedy(networks: Sequence[Network], judge: Judge) -> tuple[Network, int]:
    """Return the greedy soup of Wortsman et al. (2022), chosen by log-loss, and the number of its networks."""
    order = sorted(networks, key=lambda network: judge.log_loss(judge.predicted(network)))
    chosen, best, loss = [order[0]], order[0], judge.log_loss(judge.predicted(order[0]))
    for network in order[1:]:
        made = soup_of([*chosen, network], judge.plan)
        if (found := judge.log_loss(judge.predicted(made))) < loss:
            chosen, best, loss = [*chosen, network], made, found
    return best, len(chosen)


def barrier(networks: Sequence[Network], losses: Sequence[float], judge: Judge) -> float:
    """Return the largest log-loss halfway between two of the networks, less the mean of theirs."""
    return max(
        judge.log_loss(judge.predicted(soup_of([networks[i], networks[j]], judge.plan))) - (losses[i] + losses[j]) / 2
        for i, j in combinations(range(len(networks)), 2)
    )


def measure(plan: Plan, epochs: int, more: int) -> list[dict[str, Any]]:
    """Return a row for each system."""
    settings, judge = plan.settings, Judge(plan)
    whole = epochs + more * len(RELATIVES)
    start = trained(plan, settings, epochs)
    varieties = [varied(settings, settings.seed + 100 * n, *kind) for n, kind in enumerate(RELATIVES, 1)]
    relatives = [trained(plan, one, more, start) for one in varieties]
    long = trained(plan, settings.model_copy(update={"seed": settings.seed + 1000}), whole)
    names = ["start", *(f"relative {number}" for number in range(1, len(relatives) + 1)), "long"]
    networks = [start, *relatives, long]
    probs: dict[str, Any] = dict(zip(names, map(judge.predicted, networks), strict=True))
    losses = [judge.log_loss(probs[name]) for name in names]
    best, count = greedy(relatives, judge)
    probs |= {
        "soup": judge.predicted(soup_of(relatives, plan)),
        "greedy soup": judge.predicted(best),
        "average": np.mean([probs[name] for name in names[1:4]], axis=0, dtype=np.float32),
        "soup of strangers": judge.predicted(soup_of([start, long], plan)),
        "average of strangers": (probs["start"] + probs["long"]) / 2,
    }
    barriers = {
        "soup": barrier(relatives, losses[1:-1], judge),
        "soup of strangers": barrier([start, long], [losses[0], losses[-1]], judge),
    }
    trained_for = {"start": epochs} | dict.fromkeys(names[1:-1], epochs + more)
    of = {name: judge.scores(found) for name, found in probs.items()}
    rows = list[dict[str, Any]]()
    for name, (iou, loss) in of.items():
        row: dict[str, Any] = {"system": name, "miou": iou.whole_c[0], "log_loss": loss.whole_c[0]}
        for score, one, other in (("miou", iou, of["long"][0]), ("log_loss", loss, of["long"][1])):
            found = one.minus(other).comparison()
            row |= {f"{score}_to_long": found.difference, f"{score}_low": found.low, f"{score}_high": found.high}
        row = {key: value if isinstance(value, str) else round(float(value), 4) for key, value in row.items()}
        row |= {"barrier": round(barriers[name], 4) if name in barriers else None}
        row |= {"networks": str(count) if name == "greedy soup" else ""}
        row |= {"epochs": epochs + whole if "strangers" in name else trained_for.get(name, whole)}
        rows.append(row)
    return rows


def main() -> None:
    """Train, compare and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("data")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--arch", default="unet(filters=16)")
    parser.add_argument("--epochs", type=positive, default=3, help="epochs of the start")
    parser.add_argument("--more", type=positive, default=1, help="epochs of each relative after it")
    parser.add_argument("--seeds", type=positive, default=1, help="how often all is repeated, with other seeds")
    parser.add_argument("--threads", type=positive, default=1)
    given = parser.parse_args()
    rows = list[dict[str, Any]]()
    with torch_threads(given.threads):
        for seed in range(given.seeds):
            asked = TrainSettings(data=given.data, arch=given.arch, epochs=given.epochs, optimiser="adamw", seed=seed)
            plan = plan_member(asked, Path("runs"))
            about = {"arch": given.arch, "start_epochs": given.epochs, "more_epochs": given.more, "seed": seed}
            about |= {"validation_images": len(plan.split.validation[0])}
            about |= conditions(("torch",)) | {"threads": given.threads}
            rows += [row | about for row in measure(plan, given.epochs, given.more)]
            shown = ("seed", "system", "miou", "miou_to_long", "miou_low", "miou_high", "log_loss", "log_loss_to_long")
            write_table(given.out, rows, (*shown, "log_loss_low", "log_loss_high", "barrier", "epochs"))


if __name__ == "__main__":
    main()

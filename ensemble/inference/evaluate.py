"""Score a member or an ensemble on labelled images that it was not trained on, in their native pixels."""

from __future__ import annotations

import csv
import io
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.combiner import Combiner
from ensemble.config import Decide, DecideFrom, decision_text
from ensemble.core.errors import EnsError
from ensemble.core.files import check_folder, read_object, write_bytes
from ensemble.core.progress import Progress, no_progress
from ensemble.evaluation.more_scores import MORE_SCORES, OBJECT_SCORES
from ensemble.evaluation.scores import MEANS, SCORES
from ensemble.evaluation.tally import Tally
from ensemble.inference.deciding import few_images_note
from ensemble.inference.evaluation_images import EvaluationImages, choose_images
from ensemble.inference.load import load
from ensemble.inference.pooled_networks import Piece
from ensemble.inference.predictor import Predictor
from ensemble.runs.evaluation_dir import EvaluationSettings, images_hash, write_evaluation
from ensemble.runs.folder import find_model
from ensemble.runs.layout import SCORES as SCORES_FILE
from ensemble.runs.looks import VaultLook, open_vault, vault_sentence
from ensemble.runs.status import read_status

Say = Callable[[str], object]


@dataclass(frozen=True)
class Evaluated:
    """Result of :func:`evaluate`.

    Attributes:
        path: directory of the evaluation.
        settings: what was evaluated, and on which images.
        scores: the scores with their intervals, as `Tally.scores` returns them; None for what has no value.
    """

    path: Path
    settings: EvaluationSettings
    scores: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the directory."""
        return self.path.name


def evaluate(
    model: str | Path,
    data: str | Path,
    *,
    part: str | None = None,
    tta: str | None = None,
    decide: Decide | None = None,
    decide_from: DecideFrom | None = None,
    device: str = "auto",
    runs: str | Path = "runs",
    progress: Progress = no_progress,
    on_note: Say = str,
) -> Evaluated:
    """Score a member or an ensemble on labelled images that it was not trained on, and store the scores.

    Images are predicted in batches, so memory does not grow with their number. Scores are those of native pixels,
    with 95 % intervals over groups of images.

    Args:
        model: member or ensemble, by name, unique beginning of its name, or path; or a bundle.
        data: labelled data, as for training.
        part: ``test`` (labelled test images), ``val`` (the images held out of its training; of other data their
            official validation part), ``vault`` (the images set aside by ``ens data split --vault``; each look is
            recorded for good, see `ensemble.runs.looks`) or ``all`` (all labelled images of other data). By default the
            test images if they have labels; else, of the data it was trained on, ``val``, and of other data ``all``.
        tta: test-time augmentation of every member; None keeps the one that each member was trained with.
        decide: decision instead of the model's own: ``argmax``, ``offsets``, ``expected-iou`` or ``expected-dice``.
        decide_from: images whose expected scores decide: ``validation`` images of the members, or the ``images`` that
            are scored, which are then predicted twice; by default that of the ensemble, or ``validation``.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        runs: folder of members, ensembles and evaluations.
        progress: callback that receives the progress.
        on_note: called with each sentence about images that are left out, and about what the scores do not show.

    Returns:
        The scores, and where they are stored.

    Raises:
        EnsError: the model or the data are missing or do not fit each other, or the part holds no image that the model
            was not trained on.
    """
    start = time.perf_counter()
    path = find_model(model, runs)
    if read_status(path).get("state") != "complete":
        raise EnsError(f"{path} is not finished; repeat its train command to resume it")
    from ensemble.inference.hardware import choose_hardware  # noqa: PLC0415  (torch takes two seconds)

    predictor = load(path, choose_hardware(device).device, tta, decide=decide, decide_from=decide_from)
    images = choose_images(predictor, str(data), part, progress)
    for note in (*predictor.notes, *images.notes):
        on_note(note)
    if predictor.decide_from == "images":
        if note := few_images_note(len(images.ids)):
            on_note(note)
        predictor = predictor.decided_by(piece.probs_nkhw for piece in _pieces(predictor, images, progress))
    tally = _count(predictor, images, progress)
    looks = _open_vault(Path(runs), predictor, images, on_note)
    facts = images.dataset.facts("")
    ignored = predictor.values.index(0) if facts.keras_ignored is not None and 0 in predictor.values else None
    scores = tally.scores(images.groups, predictor.classes, ignored)
    held_out = "in-sample" if predictor.fitted else "hold-out"
    own = images.part == "validation"
    picked = own and any(member.scores.get("selected") for member in predictor.members)
    scores |= {"protocol": held_out if own else images.part, "selected": True if picked else None}
    if looks:
        scores["protocol"] = "vault, first look" if len(looks) == 1 else f"vault, look {len(looks)}"
        scores["looks"] = [asdict(look) for look in looks]
    settings = EvaluationSettings(
        model=predictor.name,
        model_digest=predictor.digest,
        part=images.part,
        data=images.dataset.name,
        data_hash=images.dataset.data_hash,
        images_hash=images_hash(images.part, images.ids),
        background=images.dataset.background,
        classes=predictor.classes,
        values=predictor.values,
        decision=decision_text(predictor.decide, predictor.decide_from, predictor.smallest_object),
        tta=predictor.tta or "",
    )
    seconds = time.perf_counter() - start
    written = write_evaluation(Path(runs), settings, scores, tally.arrays(), images.ids, images.groups, seconds=seconds)
    return Evaluated(written, settings, read_object(written / SCORES_FILE))


def _open_vault(runs: Path, predictor: Predictor, images: EvaluationImages, on_note: Say) -> tuple[VaultLook, ...]:
    """Record the look at a vault before anybody sees its score; return all looks so far, this one last."""
    if images.part != "vault":
        return ()
    looks = open_vault(runs, images.dataset.data_hash, predictor.name, predictor.digest)
    on_note(vault_sentence(looks))
    return looks


def check_table(out: Path) -> None:
    """Check that the scores can be written to a new CSV file.

    Raises:
        EnsError: another ending, a file that exists, or a folder that cannot be written.
    """
    if out.suffix.lower() != ".csv":
        raise EnsError(f"expected a CSV file for the scores, got {out}; give FILE.csv")
    if out.exists():
        raise EnsError(f"expected a new file for the scores, but {out} exists; choose a new place, or delete it")
    check_folder(out.parent)


def write_table(found: Evaluated, out: Path) -> None:
    """Write the scores as a CSV file with the columns ``score``, ``class``, ``value``, ``low`` and ``high``."""
    scores = found.scores
    lines: list[list[Any]] = [["score", "class", "value", "low", "high"]]
    lines += [
        [name, "", scores[name], scores[f"{name}_low"], scores[f"{name}_high"]] for name in (*SCORES, *MORE_SCORES)
    ]
    for each in (*MEANS.values(), *(f"{name}_per_class" for name in (*OBJECT_SCORES, "ece", "brier"))):
        limits = [scores.get(f"{each}_{end}", {}) for end in ("low", "high")]
        lines += [[each, name, value, *(one.get(name) for one in limits)] for name, value in scores[each].items()]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(lines)
    write_bytes(out, text.getvalue().encode())


def _count(predictor: Predictor, images: EvaluationImages, progress: Progress) -> Tally:
    """Predict the images batch by batch, large ones strip by strip, and count right and wrong pixels."""
    tally, total = Tally(len(predictor.classes)), len(images.ids)
    for numbers, pieces in groupby(_pieces(predictor, images, progress), key=lambda piece: piece.numbers):
        labels = np.stack([images.label(number) for number in numbers])
        for piece, decided in decided_pieces(pieces, predictor.pool):
            tally.add(piece.probs_nkhw, piece.cut(labels), decided, strip=piece.strip)
        progress("evaluating", numbers.stop, total)
    return tally


def decided_pieces(pieces: Iterable[Piece], pool: Combiner) -> Iterator[tuple[Piece, NDArray[Any]]]:
    """Yield whole images, or the strips of one image, with the decided classes.

    A strip waits for as many rows below it as decide about its objects; meanwhile a byte per pixel above it is kept.
    """
    reach = 0 if pool.smallest_c is None else pool.reach
    waiting, rows = deque[Piece](), list[NDArray[np.uint8]]()
    for piece in pieces:
        if piece.strip is None:
            yield piece, pool.decide(piece.probs_nkhw)
            continue
        waiting.append(piece)
        rows.append(pool.decide_pixels(piece.probs_nkhw).astype(np.uint8))
        known_nhw = np.concatenate(rows, axis=1)
        while waiting and (strip := waiting[0].strip):
            bottom = strip.top + waiting[0].probs_nkhw.shape[2]
            if min(bottom + reach, strip.height) > known_nhw.shape[1]:
                break
            yield waiting.popleft(), pool.cleaned(known_nhw, slice(strip.top, bottom))


def _pieces(predictor: Predictor, images: EvaluationImages, progress: Progress) -> Iterator[Piece]:
    """Yield the probabilities of the images, of large ones strip by strip."""

    def read(numbers: range) -> NDArray[Any]:
        return np.stack([images.image(number) for number in numbers])

    return predictor.networks.pieces(images.sizes, read, progress)

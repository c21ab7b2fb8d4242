"""Write a member or an ensemble as one file, a bundle, with all that predicting needs and a model card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ensemble.combining.promises import Evidence
from ensemble.core.errors import EnsError
from ensemble.core.files import check_file
from ensemble.core.progress import Progress, no_progress
from ensemble.core.registry import BUILT_IN
from ensemble.export.latency import measure_latency
from ensemble.export.model_card import card_of
from ensemble.inference.load import load
from ensemble.inference.predictor import Predictor
from ensemble.inference.promising import evidence_of
from ensemble.inference.quality_table import load_quality
from ensemble.runs.bundle import open_bundle
from ensemble.runs.bundle_writer import write_bundle
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.folder import find_run
from ensemble.runs.layout import BUNDLE_SUFFIX, BUNDLED, CARD, ENVIRONMENT, EVIDENCE, STATUS, weights_name
from ensemble.runs.member import Member
from ensemble.runs.run_files import read_file
from ensemble.runs.status import check_recorded, is_old, read_status

Say = Callable[[str], object]


@dataclass(frozen=True)
class Bundled:
    """A bundle that was written.

    Attributes:
        path: the file.
        size: its bytes.
        name: name of the member or ensemble in it.
        about: content of its ``bundle.json``, without digests.
    """

    path: Path
    size: int
    name: str
    about: Mapping[str, Any]


def bundle(
    model: str | Path,
    out: str | Path,
    *,
    licence: str = "",
    latency: bool = True,
    runs: str | Path = "runs",
    progress: Progress = no_progress,
    on_note: Say = str,
) -> Bundled:
    """Write a member or an ensemble as one file that predicts elsewhere; the file is whole or absent.

    It holds the networks of all folds of the members that predict, the pool, the decision and the calibration, what
    `--quality`, `--max-error` and `--coverage` need, the scores and a model card, but no images, no masks, no
    predictions, and no code: architectures of plug-ins are named with their digest.

    Args:
        model: member or ensemble, by name, unique beginning of its name, or path.
        out: the file, whose name ends in ``.ens``. A bundle of the same model is replaced.
        licence: licence of the model, for the card.
        latency: measure the time per image on this machine, which the card states. Without it, the same model gives the
            same bytes.
        runs: folder in which names are looked up.
        progress: callback that receives the progress.
        on_note: called with each sentence about what the bundle cannot do, and about plug-ins that it needs.

    Raises:
        EnsError: there is no such run, it is unfinished, damaged or of version 0.1 or 0.2, or ``out`` cannot be written
            or holds something else.
    """
    path, out = find_run(model, runs), Path(out)
    _check_out(out, path.name)
    contents = _contents_of(path, licence, latency, progress, on_note)
    write_bundle(out, contents.about, {CARD: contents.card.encode(), **contents.parts})
    return Bundled(out, out.stat().st_size, path.name, contents.about)


def run_card(
    model: str | Path, *, runs: str | Path = "runs", progress: Progress = no_progress, on_note: Say = str
) -> tuple[str, Mapping[str, Any]]:
    """Return the model card of a run, in Markdown and as plain data: what its bundle would hold, but for the latency.

    Args:
        model, runs, progress, on_note: as for `bundle`.

    Raises:
        EnsError: there is no such run, or it is unfinished, damaged or of version 0.1 or 0.2.
    """
    contents = _contents_of(find_run(model, runs), "", False, progress, on_note)
    return contents.card, contents.about


@dataclass(frozen=True)
class _Contents:
    """What a bundle of a run holds: the facts of its manifest, its card, and the other parts by name."""

    about: Mapping[str, Any]
    card: str
    parts: Mapping[str, bytes | Path]


def _contents_of(path: Path, licence: str, latency: bool, progress: Progress, on_note: Say) -> _Contents:
    predictor = load(path)
    run = Ensemble.open(path) if read_status(path).get("kind") == "ensemble" else Member.open(path)
    _check_format(run, *predictor.members)
    evidence = _known(lambda: evidence_of(predictor, path, progress), "promises about new images", on_note)
    quality = None
    if isinstance(run, Member):
        quality = _known(lambda: load_quality(predictor, path).to_json(), "estimates of quality", on_note)
    for origin in sorted({member.settings.architecture.origin for member in predictor.members} - {BUILT_IN}):
        on_note(f"predicting with it needs {origin}, which no bundle holds: install it, or give the file with --plugin")
    about = {
        "model": f"{'ensembles' if isinstance(run, Ensemble) else 'members'}/{run.name}",
        "name": run.name,
        "toolkit": version("ens-toolkit"),
        "licence": " ".join(licence.split()),
        "quality": quality,
        "latency": measure_latency(predictor, progress) if latency else None,
    }
    parts = _parts(run, predictor, evidence)
    about["network_bytes"] = sum(part.stat().st_size for part in parts.values() if isinstance(part, Path))
    card, more = card_of(run, predictor, evidence, about)
    return _Contents(about | more, card, parts)


def _known(find: Callable[[], Any], what: str, on_note: Say) -> Any:
    """Return what the stored probabilities of validation images say, or None with a note about what is missing."""
    try:
        return find()
    except EnsError as error:
        on_note(f"the bundle cannot give {what}: {error}")
        return None


def _check_out(out: Path, name: str) -> None:
    if out.suffix != BUNDLE_SUFFIX:
        raise EnsError(
            f"expected a file that ends in {BUNDLE_SUFFIX} for the bundle, got {out}; give FILE{BUNDLE_SUFFIX}"
        )
    check_file(out)
    if not out.exists():
        return
    try:
        other = open_bundle(out).about["name"]
    except EnsError:
        other = "something that is no whole bundle"
    if other != name:
        raise EnsError(
            f"expected a new file, or a bundle of {name} to replace, but {out} holds {other}; choose another name, or"
            " delete it"
        )


def _check_format(*runs: Ensemble | Member) -> None:
    for run in runs:
        if is_old(read_status(run.path)):
            raise EnsError(
                f"{run.name} was made by version 0.1 or 0.2, which kept no digest of all its files; make it again"
            )


def _parts(run: Ensemble | Member, predictor: Predictor, evidence: Evidence | None) -> dict[str, bytes | Path]:
    """Return the parts of a bundle: files of weights as paths, all others as bytes."""
    parts: dict[str, bytes | Path] = {} if evidence is None else {EVIDENCE: evidence.to_bytes()}
    if isinstance(run, Ensemble):
        parts |= {f"ensembles/{run.name}/{name}": read_file(run.path / name) for name in (STATUS, *BUNDLED)}
    for member in predictor.members:
        more = (ENVIRONMENT,) if check_recorded(member.path, member.status, ENVIRONMENT) else ()
        weights = [weights_name(fold) for fold in range(member.settings.data.folds or 1)]
        folder = f"members/{member.name}"
        parts |= {f"{folder}/{name}": read_file(member.path / name) for name in (STATUS, *BUNDLED, *more)}
        parts |= {f"{folder}/{name}": member.path / name for name in weights}
    return parts

"""Find a member or ensemble, load it, predict with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.progress import Tick, silent
from ensemble.runs.member import read_status

if TYPE_CHECKING:
    from ensemble.inference.predictor import Predictor


def find_model(model: str | Path, runs: str | Path = "runs") -> Path:
    """Directory of a member or ensemble given by path, name or unique beginning of its name.

    Raises:
        UnknownName: nothing, or more than one thing, is called that.
    """
    if (Path(model) / "status.json").is_file():
        return Path(model)
    found = {path.parent.name: path.parent for path in Path(runs).glob("*/*/status.json")}
    near = [name for name in found if name.startswith(str(model))]
    if str(model) in found:
        return found[str(model)]
    if len(near) != 1:
        raise UnknownName("member or ensemble", str(model), found)
    return found[near[0]]


def load(path: str | Path, device: str = "cpu", tta: str | None = None) -> Predictor:
    """Load a member or an ensemble: ``ensemble.load(PATH)(images) -> probabilities``.

    The arguments are those of :func:`ensemble.predict.load`.
    """
    from ensemble.inference.predictor import load as load_predictor  # noqa: PLC0415

    return load_predictor(path, device, tta)


def predict(
    model: str | Path,
    images: str | Path,
    out: str | Path,
    *,
    probabilities: bool = False,
    tta: str | None = None,
    device: str = "auto",
    runs: str | Path = "runs",
    tick: Tick = silent,
) -> int:
    """Write class maps of ``images`` to ``out`` (a folder of PNG, an npz or a csv) and return their number.

    Every member predicts with the test-time augmentation it was made with, or with ``tta`` where that is given.

    Raises:
        EnsError: nothing to predict with or on, an unknown form or ``tta``, or an unwritable place.
    """
    path = find_model(model, runs)
    if read_status(path).get("state") != "complete":
        raise EnsError(f"{path} is not finished; repeat its train command to resume it")
    from ensemble.inference.predictor import load as load_predictor  # noqa: PLC0415
    from ensemble.inference.predictor import open_images  # noqa: PLC0415
    from ensemble.inference.write_masks import predict_to  # noqa: PLC0415
    from ensemble.training.hardware import choose_hardware  # noqa: PLC0415

    found = open_images(images)
    predictor = load_predictor(path, choose_hardware(device).device, tta)
    return predict_to(predictor, found, Path(out), probabilities=probabilities, tick=tick)

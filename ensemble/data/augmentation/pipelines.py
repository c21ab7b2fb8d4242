"""Pipelines of albumentations: from files, and applied to images. Only this file imports albumentations.

Masks are moved with nearest-neighbour interpolation, and pixels from outside the image become void. A pipeline from a
file that does otherwise is refused.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise it asks the network for a newer version

import albumentations as A
from albumentations.core.serialization import SERIALIZABLE_REGISTRY

from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.files import write_bytes
from ensemble.core.texts import read_toml
from ensemble.core.void import VOID
from ensemble.data.augmentation.mixing import Change
from ensemble.data.windows import Pairs


def read_pipeline(path: Path) -> dict[str, Any]:
    """Read a pipeline from TOML: the content of ``albumentations.to_dict``, without its nulls.

    A file looks like this; omitted arguments get the defaults of albumentations::

        [transform]
        __class_fullname__ = "Compose"
        p = 1.0

        [[transform.transforms]]
        __class_fullname__ = "Rotate"
        p = 0.5
        limit = [-20, 20]
        fill_mask = 255

    Returns:
        the pipeline with all its arguments, as plain JSON values.

    Raises:
        EnsError: when the file is no TOML, holds no pipeline, has wrong arguments, or would change labels of masks.
        UnknownName: when a transform is unknown.
    """
    content = read_toml(path, "expected a pipeline of albumentations")
    if not isinstance(content.get("transform"), dict):
        raise EnsError(f"expected the table [transform] in {path}, as albumentations.to_dict writes it; add it")
    return _to_dict(build_pipeline(content["transform"], path.name))


def save_pipeline(transform: A.BasicTransform | A.BaseCompose, path: Path) -> None:
    """Write a pipeline of albumentations as TOML for ``read_pipeline``.

    Raises:
        EnsError: when a transform cannot be serialised, or ``read_pipeline`` would refuse it.
    """
    table = _to_dict(build_pipeline(_to_dict(transform), path.name))
    transforms = table.pop("transforms")
    lines = ["[transform]", *_toml_lines(table)]
    for each in transforms:
        lines += ["", "[[transform.transforms]]", *_toml_lines(each)]
    write_bytes(path, ("\n".join(lines) + "\n").encode())


def _toml_lines(table: dict[str, Any]) -> list[str]:
    return [f"{key} = {_toml(value)}" for key, value in table.items() if value is not None]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(_toml_lines(value)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _to_dict(transform: A.BasicTransform | A.BaseCompose) -> dict[str, Any]:
    """Return the pipeline as plain JSON values."""
    try:
        return _only_known(json.loads(json.dumps(A.to_dict(transform)["transform"], allow_nan=False)))
    except (NotImplementedError, TypeError, ValueError) as error:
        raise EnsError(
            f"this pipeline cannot be saved as text ({error}); use transforms with plain arguments"
        ) from None


def _only_known(serialised: dict[str, Any]) -> dict[str, Any]:
    """Drop arguments that albumentations serialises but the transform itself does not accept."""
    if "transforms" in serialised:
        return serialised | {"transforms": [_only_known(inner) for inner in serialised["transforms"]]}
    schema: Any = SERIALIZABLE_REGISTRY[serialised["__class_fullname__"]]
    known = {"__class_fullname__", "p", *schema.InitSchema.model_fields}
    return {key: value for key, value in serialised.items() if key in known}


def build_pipeline(serialised: dict[str, Any], name: str, *, always: bool = False) -> A.Compose:
    """Build a pipeline, and raise an error if it would change labels of masks.

    Args:
        serialised: result of ``read_pipeline``; omitted arguments get their defaults.
        name: name of the file, for messages.
        always: whether every transform is applied to every image, whatever its probability.

    Raises:
        EnsError, UnknownName: see ``read_pipeline``.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # albumentations warns about slow transforms, for example
            warnings.filterwarnings("error", message=r"Argument\(s\)|Transform \w+ has no 'p'")
            built: Any = A.from_dict({"transform": serialised})
    except KeyError as error:
        if error.args[0] == "__class_fullname__":
            raise EnsError(f"expected the name of every transform in {name} as __class_fullname__; add it") from None
        known = [each for each in SERIALIZABLE_REGISTRY if "." not in each and not each.startswith(("Base", "_"))]
        raise UnknownName("transform of albumentations", str(error.args[0]), known, where=f"in {name}") from None
    except Exception as error:  # pydantic's, TypeError, and the warnings above
        raise EnsError(f"{name} is no pipeline that albumentations {A.__version__} takes: {_short(error)}") from None
    pipeline = built if isinstance(built, A.Compose) else A.Compose([built])
    for transform in _tree(pipeline):
        _check_transform(transform, name)
        if always:
            transform.p = 1.0
    return pipeline


def _tree(transform: Any) -> Iterator[Any]:
    """Yield a transform and all transforms inside it, the outer before the inner."""
    yield transform
    if isinstance(transform, A.BaseCompose):
        for inner in transform.transforms:
            yield from _tree(inner)


def _check_transform(transform: Any, name: str) -> None:
    kind = type(transform).__name__
    if isinstance(transform, A.SelectiveChannelTransform):
        raise EnsError(f"albumentations does not serialise the channels of {kind}; remove {kind} from {name}")
    if getattr(transform, "mask_interpolation", None) not in (None, cv2.INTER_NEAREST):
        raise EnsError(
            f"expected mask_interpolation = {cv2.INTER_NEAREST} (nearest) for {kind} in {name}, got"
            f" {transform.mask_interpolation}; labels cannot be interpolated, change that line"
        )
    if getattr(transform, "border_mode", cv2.BORDER_CONSTANT) != cv2.BORDER_CONSTANT:
        return  # nothing is filled in, because labels are mirrored or repeated like pixels
    for key in ("fill_mask", "mask_drop_value"):
        fill = getattr(transform, key, None)
        if fill is not None and np.any(np.asarray(fill) != VOID):
            raise EnsError(
                f"expected {key} = {VOID} (void) for {kind} in {name}, got {fill}; pixels that are filled in have no"
                f" label, so write {key} = {VOID}"
            )


# ---------------------------------------------------------------- applying pipelines


def pipeline_change(pipeline: A.Compose, name: str) -> Change:
    """Return a pipeline as a step of an augmentation."""
    return lambda images, labels, generator, _: apply_pipeline(pipeline, name, (images, labels), generator)


def apply_pipeline(pipeline: A.Compose, name: str, pairs: Pairs, generator: np.random.Generator) -> Pairs:
    """Apply a pipeline to each image (h, w, c) with its labels (h, w), and check the results.

    Raises:
        EnsError: when the pipeline cannot take the images, or its results differ in shape or type.
    """
    # Compose gives the same seed to every transform, so left-right and up-down flips would always occur together.
    for transform in _tree(pipeline):
        transform.set_random_seed(int(generator.integers(2**31)))
    results: list[dict[str, Any]] = []
    for image, mask in zip(*pairs, strict=True):
        try:
            results.append(pipeline(image=image, mask=mask))
        except Exception as error:  # some transforms need colours, other types or other sizes
            what = f"an image (h, w, bands) of {image.shape} {image.dtype}"
            raise EnsError(f"the augmentation {name} cannot take {what}: {_short(error)}") from None
        for old, new in ((image, results[-1]["image"]), (mask, results[-1]["mask"])):
            if (new.shape, new.dtype) != (old.shape, old.dtype):
                raise EnsError(
                    f"the augmentation {name} turns {old.shape} {old.dtype} into {new.shape} {new.dtype};"
                    " expected the same shape and type, remove what changes them"
                )
    changed = np.stack([item["image"] for item in results]), np.stack([item["mask"] for item in results])
    _check_values(pairs, changed, name)
    return changed


def _check_values(before: Pairs, after: Pairs, name: str) -> None:
    images, labels = after
    if images.dtype != np.uint8 and not (images.min() >= -1e-3 and images.max() <= 1 + 1e-3):
        raise EnsError(
            f"the augmentation {name} leaves pixels in {images.min():g}..{images.max():g}; expected 0..1, remove what"
            " normalises them (networks do it themselves)"
        )
    new = _present(labels) & ~_present(before[1])
    new[VOID] = False
    if new.any():
        raise EnsError(
            f"the augmentation {name} makes labels that were not there, such as {int(new.argmax())};"
            f" use nearest-neighbour interpolation for masks, and fill them with {VOID} (void)"
        )


def _present(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which labels 0..255 occur."""
    return cv2.calcHist([labels.reshape(-1, 1)], [0], None, [256], [0, 256]).ravel() > 0  # 10 times as fast as NumPy


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text.split(", defaulting")[0].split(" For further")[0][:200]

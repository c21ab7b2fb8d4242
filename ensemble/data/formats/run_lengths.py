"""A table with runs of pixels, as Kaggle's competitions have it, and a folder of images."""

from __future__ import annotations

from pathlib import Path

from ensemble.core.errors import EnsError
from ensemble.core.reading import is_file, is_folder
from ensemble.data.description import Description, Part, Value
from ensemble.data.formats.label_names import LabelNames
from ensemble.data.formats.registry import FORMATS
from ensemble.data.formats.run_length_masks import columns_of, open_run_lengths
from ensemble.data.formats.table_layout import files_of_parts, folder_of_test, image_pattern


@FORMATS.register("run-lengths")
def describe(path: Path) -> Description | None:
    """A CSV of run lengths (ImageId, EncodedPixels, perhaps ClassId), as Kaggle's competitions have it."""
    if not is_folder(path):
        return None
    tables = [
        file
        for file in sorted(path.glob("*.csv"))
        if is_file(file) and "submission" not in file.stem.lower() and _is_table(file)
    ]
    if not tables:
        return None
    masks = open_run_lengths(files_of_parts(path, tables, "run lengths"))
    parts = {
        name: Part(
            images=(image_pattern(path, each.path, each.files.values()),),
            masks=each.path.name if name != "test" or each.objects else None,
        )
        for name, each in masks.items()
    }
    if "test" not in parts and (folder := folder_of_test(path)) is not None:
        parts["test"] = Part(images=(f"{folder}/{{id}}.*",))
    classes: dict[str, tuple[Value, ...]] = {"background": (0,)}
    void: tuple[Value, ...] = ()
    for text, value in sorted(masks["train"].classes.items(), key=lambda item: item[1]):
        if LabelNames().is_void(text):
            void = (*void, value)
        else:
            classes[f"class {text}" if text.isdigit() else text] = (value,)
    if len(classes) < 2:
        raise EnsError(f"{masks['train'].path} holds no object; there is nothing to learn")
    return Description(
        train=parts["train"],
        val=parts.get("val"),
        test=parts.get("test"),
        coding="run-lengths",
        classes=classes,
        void=void,
    )


def _is_table(file: Path) -> bool:
    try:
        return columns_of(file) is not None
    except EnsError:  # another file whose text cannot be read
        return False

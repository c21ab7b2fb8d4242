"""Open the images to predict: a file, a folder, an npz, or the embedded sample."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ensemble.core.arrays import npz_entries
from ensemble.core.errors import EnsError
from ensemble.core.formatting import counted
from ensemble.core.reading import is_file, is_folder
from ensemble.data.description import Description, read_description
from ensemble.data.formats.array_files import holds_arrays, read_images
from ensemble.data.formats.arrays import arrays_by_use
from ensemble.data.formats.image_files import SUFFIXES, image_files, left_out
from ensemble.data.formats.npz_stack import NpzStack
from ensemble.data.formats.registry import FORMATS, recognise_within
from ensemble.data.formats.samples import collect
from ensemble.data.open_source import embedded_sample
from ensemble.inference.image_sources import DescribedFiles, ImageFiles, Images, Stack

FIRST = "images-and-masks"  # its folder test/ is read as that of any folder


def open_images(source: str | Path, out: Path | None = None) -> Images:
    """Open the images of ``source``.

    Args:
        source: ``sample``; an npz file, whose ``test_set``, ``x_test`` or the like (or only array) is read; a data set
            that is described or has a known layout, whose test part is read, or the labelled images if it has none;
            another folder; or one image file. Of another folder the images in ``test/`` are read, else those in the
            folder itself, else those in its sub-folders (only those in ``images/`` if there is one), with ids such as
            ``berlin/0001``.
        out: the place of the output; images below it are left out.

    Raises:
        EnsError: the source does not exist or holds no images.
    """
    path = Path(source).expanduser()
    if is_folder(path):
        known = _open_known(path)
        return known or _open_folder(path / "test" if is_folder(path / "test") else path, out)
    if str(source) == "sample":
        sample = embedded_sample()
        return Stack(sample.test_ids, sample.test_nhwc, "sample")
    if path.suffix.lower() in SUFFIXES and is_file(path):
        return ImageFiles([path.stem], [path])
    if path.suffix.lower() == ".toml" and is_file(path):
        description = read_description(path)
        return _open_described(description, path.parent / description.root)
    return _open_npz(path)


def _open_known(folder: Path) -> Images | None:
    """Return the images of a folder of a known layout, or None; to predict, its masks need not be in order."""
    with suppress(EnsError):
        found = recognise_within(folder)
        if found is None or found[0] == FIRST:
            return None
        images = _open_described(found[1], found[2])
        if found[1].test is not None or folder not in [path.parent for path in images.files or ()]:
            return images
    return None  # a folder with nothing but images, of which some may look like masks of others


def _open_described(description: Description, root: Path) -> Images:
    if holds_arrays(description, root):
        return _open_arrays(description, root)
    samples = collect(description, root)
    if samples.test:
        return DescribedFiles(description, samples.test)
    note = f"{root} has no test images, so its {counted(len(samples.labelled), 'labelled image')} are predicted"
    return DescribedFiles(description, samples.labelled, (note,))


def _open_npz(path: Path) -> Images:
    entries, key = npz_entries(path) if is_file(path) else {}, "test_set"
    if not {"test_set", "training_set"} & set(entries) and len(entries) > 1:
        description = FORMATS.create("arrays", path)
        if description is not None:
            return _open_arrays(description, path)
        uses = arrays_by_use(tuple(entries), path)
        key = uses.get(("test", "images")) or uses.get(("train", "images")) or key
    stack = NpzStack.open(path, key)
    return Stack(stack.ids, stack, path.name)


def _open_arrays(description: Description, root: Path) -> Images:
    key, ids, images = read_images(description, root)
    note = f"{root} has no test images, so those of '{key}' are predicted"
    return Stack(ids, images, root.name, () if description.test is not None else (note,))


def _open_folder(folder: Path, out: Path | None) -> ImageFiles:
    files, places = image_files(folder), [folder]
    if not files:
        images = folder / "images"
        places = list(_below(images if is_folder(images) else folder, out))
        for place in places:
            inside = place.relative_to(places[0]).as_posix()
            found = image_files(place)
            files |= found if inside == "." else {f"{inside}/{stem}": path for stem, path in found.items()}
    if not files:
        raise EnsError(f"the folder {folder} holds no images ({', '.join(SUFFIXES)}); check the path")
    notes = [note for note in map(left_out, places) if note] if len(places) == 1 else []
    return ImageFiles(list(files), list(files.values()), notes)


def _below(folder: Path, out: Path | None) -> Iterator[Path]:
    """Yield a folder and all folders below it, but no hidden ones and not the output."""
    yield folder
    for path in sorted(folder.iterdir()):
        if is_folder(path) and not path.name.startswith(".") and (out is None or path.resolve() != out.resolve()):
            yield from _below(path, out)

"""Draw the layouts of well-known data sets: real names of folders, files, lists and ids; the pixels are random."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH = 24, 32
Draw = Callable[[Path], None]
Size = tuple[int, ...]

CAMVID_COLOURS = {
    "Animal": (64, 128, 64),
    "Bicyclist": (0, 128, 192),
    "Building": (128, 0, 0),
    "Car": (64, 0, 128),
    "Road": (128, 64, 128),
    "Sky": (128, 128, 128),
    "Void": (0, 0, 0),
}
CITIES = {"train": ("aachen", "bochum"), "val": ("frankfurt", "munster"), "test": ("berlin",)}


def picture(path: Path, seed: int, size: Size = (HEIGHT, WIDTH), bands: int = 3) -> None:
    """Write an image of random pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = size if bands == 1 else (*size, bands)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)


def ids(values: Sequence[int], seed: int, size: Size = (HEIGHT, WIDTH)) -> NDArray[np.uint8]:
    """Return random ids that hold every value."""
    mask = np.random.default_rng(seed).choice(np.array(values, np.uint8), size)
    mask.flat[: len(values)] = values
    return mask


def write(path: Path, mask: NDArray[np.uint8], palette: Sequence[int] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(mask)
    if palette is not None:
        image = image.convert("P")
        image.putdata(mask.ravel().tolist())
        image.putpalette(list(palette))
    image.save(path)


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


# ---------------------------------------------------------------- CamVid


def _frames(count: int = 6) -> dict[str, list[str]]:
    train = [f"0001TP_{6690 + 30 * n:06d}" for n in range(count // 2)] + [
        f"0006R0_f{930 + 30 * n:05d}" for n in range(count - count // 2)
    ]
    return {
        "train": train,
        "val": [f"0016E5_{7959 + 2 * n:05d}" for n in range(3)],
        "test": [f"Seq05VD_f{30 * n:05d}" for n in range(2)],
    }


def camvid_segnet(root: Path) -> None:
    """Eleven classes, and 11 = void, in folders called annot, with lists of both paths."""
    for part, names in _frames().items():
        for seed, name in enumerate(names):
            picture(root / part / f"{name}.png", seed)
            write(root / f"{part}annot" / f"{name}.png", ids(range(12), seed))
        base = "/SegNet/CamVid"
        text(root / f"{part}.txt", "".join(f"{base}/{part}/{n}.png {base}/{part}annot/{n}.png\n" for n in names))


def _camvid_colours(seed: int) -> NDArray[np.uint8]:
    table = np.array(list(CAMVID_COLOURS.values()), np.uint8)
    return table[ids(range(len(table)), seed)]


def camvid_colours(root: Path) -> None:
    """Colours, masks with _L, and the table of colours."""
    for part, names in _frames().items():
        for seed, name in enumerate(names):
            picture(root / part / f"{name}.png", seed)
            write(root / f"{part}_labels" / f"{name}_L.png", _camvid_colours(seed))
    rows = [f"{name},{r}, {g}, {b}" for name, (r, g, b) in CAMVID_COLOURS.items()]
    text(root / "class_dict.csv", "\n".join(["name,r,g,b", *rows, "Wall,64,192,0"]) + "\n")


def camvid_original(root: Path) -> None:
    for seed, name in enumerate(_frames()["train"]):
        picture(root / "701_StillsRaw_full" / f"{name}.png", seed)
        write(root / "LabeledApproved_full" / f"{name}_L.png", _camvid_colours(seed))
    marks = ("\t", "\t\t")
    lines = [f"{r} {g} {b}{marks[n % 2]}{name}" for n, (name, (r, g, b)) in enumerate(CAMVID_COLOURS.items())]
    text(root / "label_colors.txt", "\r\n".join(lines) + "\r\n")


# ---------------------------------------------------------------- Pascal VOC


def voc_palette() -> list[int]:
    """Return VOC's palette: the bits of an id are spread over the colours, the highest bit of a colour first."""
    palette: list[int] = []
    for number in range(256):
        palette += [sum((number >> (3 * bit + band) & 1) << (7 - bit) for bit in range(3)) for band in range(3)]
    return palette


def voc(root: Path) -> None:
    """Photographs of two sizes, palette masks with 255 around objects, lists, and images for detection only."""
    names = {"train": [f"2007_{n:06d}" for n in (32, 39, 63, 68)], "val": [f"2007_{n:06d}" for n in (33, 42)]}
    for part, each in names.items():
        for seed, name in enumerate(each):
            size = (HEIGHT, WIDTH) if seed % 2 == 0 else (WIDTH, HEIGHT)
            picture(root / "JPEGImages" / f"{name}.jpg", seed, size)
            for kind, values in (("Class", (0, 1, 15, 20, 255)), ("Object", (0, 1, 2, 255))):
                write(root / f"Segmentation{kind}" / f"{name}.png", ids(values, seed, size), voc_palette())
            text(root / "Annotations" / f"{name}.xml", "<annotation/>")
        text(root / "ImageSets" / "Segmentation" / f"{part}.txt", "\n".join(each) + "\n")
    text(root / "ImageSets" / "Segmentation" / "trainval.txt", "\n".join([*names["train"], *names["val"]]) + "\n")
    text(root / "ImageSets" / "Main" / "train.txt", "2007_000027\n")
    picture(root / "JPEGImages" / "2007_000027.jpg", 9)


# ---------------------------------------------------------------- Cityscapes


def cityscapes(root: Path) -> None:
    """Ids of labels with void among them; the masks of the test part hold no class."""
    for part, cities in CITIES.items():
        for city in cities:
            for n in range(3):
                name = f"{city}_{n:06d}_000019"
                picture(root / "leftImg8bit" / part / city / f"{name}_leftImg8bit.png", n)
                values = (0, 1, 3) if part == "test" else (0, 1, 3, 5, 7, 8, 11, 21, 23, 24, 26)
                masks = root / "gtFine" / part / city
                write(masks / f"{name}_gtFine_labelIds.png", ids(values, n))
                write(masks / f"{name}_gtFine_color.png", np.zeros((HEIGHT, WIDTH, 4), np.uint8))
                Image.fromarray(np.full((HEIGHT, WIDTH), 26001, np.uint16)).save(
                    masks / f"{name}_gtFine_instanceIds.png"
                )
                text(masks / f"{name}_gtFine_polygons.json", "{}")


# ---------------------------------------------------------------- nnU-Net


def nnunet(root: Path) -> None:
    """Two channels, the label ignore, and test images with labels."""
    for part, cases in (("Tr", 6), ("Ts", 2)):
        for n in range(cases):
            case = f"cell_{n + (100 if part == 'Ts' else 0):03d}"
            for channel in range(2):
                picture(root / f"images{part}" / f"{case}_{channel:04d}.png", 2 * n + channel, bands=1)
            write(root / f"labels{part}" / f"{case}.png", ids((0, 1, 2, 3), n))
    facts = {
        "channel_names": {"0": "phase", "1": "fluorescence"},
        "labels": {"background": 0, "nucleus": 1, "outline": 2, "ignore": 3},
        "numTraining": 6,
        "file_ending": ".png",
    }
    text(root / "dataset.json", json.dumps(facts))


# ---------------------------------------------------------------- Data Science Bowl


def object_masks(root: Path) -> None:
    """RGBA images of several sizes, a file for each nucleus, test images without masks, and a table of runs."""
    for part, count in (("stage1_train", 6), ("stage1_test", 2)):
        for n in range(count):
            size = (HEIGHT, WIDTH) if n % 2 == 0 else (HEIGHT + 8, WIDTH + 8)
            name = f"{n + 1:x}".rjust(64, "a" if part == "stage1_train" else "b")
            picture(root / part / name / "images" / f"{name}.png", n, size, bands=4)
            for k in range(0 if part == "stage1_test" else 3):
                mask = np.zeros(size, np.uint8)
                mask[4 + 6 * k : 8 + 6 * k, 5 : 9 + n] = 255
                write(root / part / name / "masks" / f"{k:064x}.png", mask)
    text(root / "stage1_train_labels.csv", f"ImageId,EncodedPixels\n{'1'.rjust(64, 'a')},1 3\n")


# ---------------------------------------------------------------- tables of masks


def coco(root: Path) -> None:
    square = [[2.0, 2.0, 12.0, 2.0, 12.0, 12.0, 2.0, 12.0]]
    for part, count in (("train", 6), ("val", 2)):
        images = [{"id": n, "file_name": f"{n:012d}.jpg", "height": HEIGHT, "width": WIDTH} for n in range(count)]
        objects = [
            {"id": n, "image_id": n, "category_id": 18, "segmentation": square, "iscrowd": 0} for n in range(count)
        ]
        for n in range(count):
            picture(root / f"{part}2017" / f"{n:012d}.jpg", n)
        table = {"images": images, "annotations": objects, "categories": [{"id": 18, "name": "dog"}]}
        text(root / "annotations" / f"instances_{part}2017.json", json.dumps(table))


def run_lengths(root: Path) -> None:
    for n in range(6):
        picture(root / "train_v2" / f"{n:09x}.jpg", n)
    rows = "".join(f"{n:09x}.jpg,{1 + 24 * n} 40\n" for n in range(6))
    text(root / "train_ship_segmentations_v2.csv", f"ImageId,EncodedPixels\n{rows}")


def arrays_in_npz(path: Path) -> None:
    generator = np.random.default_rng(0)
    images, masks = (
        generator.integers(0, 256, (8, HEIGHT, WIDTH, 3), dtype=np.uint8),
        ids((0, 1, 2), 1, (8, HEIGHT, WIDTH)),
    )
    np.savez(path, x_train=images[:6], y_train=masks[:6], x_val=images[6:], y_val=masks[6:])


def arrays_in_npy(root: Path) -> None:
    root.mkdir()
    np.save(root / "X.npy", np.random.default_rng(0).integers(0, 256, (6, HEIGHT, WIDTH, 3), dtype=np.uint8))
    np.save(root / "y.npy", ids((0, 1, 2), 1, (6, HEIGHT, WIDTH)))


# ---------------------------------------------------------------- usual names


def images_and_masks(root: Path) -> None:
    pairs_of("images/{}.png", "masks/{}.png")(root)
    text(root / "classes.txt", "background\nnucleus\noutline\n")


def pairs_of(image: str, mask: str, count: int = 6) -> Draw:
    """Return a drawing of pairs; ``{}`` stands for the names, which have four digits."""

    def draw(root: Path) -> None:
        for n in range(count):
            picture(root / image.format(f"{n:04d}"), n)
            write(root / mask.format(f"{n:04d}"), ids((0, 1, 2), n))

    return draw


def parts_of(image: str, mask: str, parts: Sequence[str] = ("train", "val", "test")) -> Draw:
    """Return a drawing of pairs in parts; ``{part}`` and ``{name}`` are filled in."""

    def draw(root: Path) -> None:
        for number, part in enumerate(parts):
            for n in range(6 - 2 * number):
                name = f"{10 * number + n:04d}"
                picture(root / image.format(part=part, name=name), n)
                write(root / mask.format(part=part, name=name), ids((0, 1, 2), n))

    return draw


LAYOUTS: dict[str, dict[str, Draw]] = {
    "images-and-masks": {"plain": images_and_masks},
    "camvid": {"segnet": camvid_segnet, "colours": camvid_colours, "original": camvid_original},
    "voc": {"original": voc},
    "cityscapes": {"original": cityscapes},
    "nnunet": {"two-channels": nnunet},
    "object-masks": {"bowl": object_masks},
    "coco": {"original": coco},
    "run-lengths": {"ships": run_lengths},
    "arrays": {"keras.npz": arrays_in_npz, "npy": arrays_in_npy},
    "pairs": {
        "suffix": pairs_of("images/{}.png", "masks/{}_mask.png"),
        "word": pairs_of("image/{}.png", "label/{}.png"),
        "capital": pairs_of("Images/img-{}.jpg", "GroundTruth/gt-{}.png"),
        "satellite": pairs_of("train/{}_sat.jpg", "train/{}_mask.png"),
        "endings": pairs_of("{}.jpg", "{}.png"),
        "folders": pairs_of("{}/image.png", "{}/mask.png"),
        "patients": pairs_of("TCGA_{0}/TCGA_{0}_1.tif", "TCGA_{0}/TCGA_{0}_1_mask.tif"),
        "kind-part": parts_of("images/{part}/{name}.png", "masks/{part}/{name}.png"),
        "part-kind": parts_of("{part}/images/{name}.jpg", "{part}/masks/{name}.png", ("train", "valid", "test")),
        "mmseg": parts_of("img_dir/{part}/{name}.jpg", "ann_dir/{part}/{name}.png", ("train", "val")),
        "joined": parts_of("{part}_images/{name}.png", "{part}_masks/{name}_seg.png", ("training", "validation")),
        "carvana": pairs_of("train/{}_01.jpg", "train_masks/{}_01_mask.png"),
    },
}
"""A drawing or more for every format in the registry, by name; a form that ends in .npz is a file."""

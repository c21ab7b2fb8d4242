"""Files are found by patterns."""

from __future__ import annotations

from pathlib import Path

import pytest

from ensemble.core.errors import EnsError
from ensemble.data.formats.patterns import find_files


def found(root: Path, pattern: str, *files: str) -> dict[str, list[str]]:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    files_of = find_files(root, pattern).files
    return {key: [path.relative_to(root).as_posix() for path in paths] for key, paths in files_of.items()}


def test_the_ending_of_any_image_fits(tmp_path: Path) -> None:
    files = ("i/a.png", "i/b.x.JPG", "i/c.txt", "i/.d.png", "i/sub/e.png")
    assert found(tmp_path, "i/{id}.*", *files) == {"a": ["i/a.png"], "b.x": ["i/b.x.JPG"]}
    others = {path.name for path in find_files(tmp_path, "i/{id}.*").others}
    assert others == {"c.txt", ".d.png", "sub"}


def test_an_id_may_stand_in_folders_and_several_times(tmp_path: Path) -> None:
    files = ("a/images/a.png", "a/masks/1.png", "a/masks/2.png", "b/images/b.png", "b/images/x.png", "b/masks/7.png")
    assert found(tmp_path, "{id}/images/{id}.png", *files) == {"a": ["a/images/a.png"], "b": ["b/images/b.png"]}
    assert found(tmp_path, "{id}/masks/*.png") == {"a": ["a/masks/1.png", "a/masks/2.png"], "b": ["b/masks/7.png"]}


def test_prefixes_suffixes_and_any_folder(tmp_path: Path) -> None:
    files = ("gt/bonn/bonn_1_gt.png", "gt/koeln/koeln_2_gt.png", "gt/koeln/koeln_2_gt.json")
    assert found(tmp_path, "gt/*/{id}_gt.png", *files) == {
        "bonn_1": ["gt/bonn/bonn_1_gt.png"],
        "koeln_2": ["gt/koeln/koeln_2_gt.png"],
    }


def test_characters_of_regular_expressions_are_plain(tmp_path: Path) -> None:
    assert found(tmp_path, "a+(1)/{id}[x].png", "a+(1)/n[x].png", "a+(1)/nx.png") == {"n": ["a+(1)/n[x].png"]}


def test_names_are_compared_in_one_unicode_form(tmp_path: Path) -> None:
    assert list(found(tmp_path, "{id}.png", "fu\u0308r.png")) == ["für"]


@pytest.mark.parametrize("pattern", ["images/*.png", "../{id}.png", "/tmp/{id}.png"])
def test_a_pattern_stays_below_the_root_and_has_an_id(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(EnsError, match=r"a pattern below the root that holds \{id\}, such as images/\{id\}\.png, got"):
        find_files(tmp_path, pattern)

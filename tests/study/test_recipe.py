"""Recipes: grids laid out, mistakes told, the shipped ones planned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ensemble.core.errors import EnsError
from ensemble.study import read_recipe, shipped_recipes
from ensemble.study.recipe import SETTINGS

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A recipe file of the given text."""

    def to_file(text: str) -> Path:
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return path

    return to_file


GRID = """
name = "mine"
[defaults]
epochs = 2
[[members]]
arch = "unet"
loss = "dice"
label = "first"
[[grid]]
group = "seeds"
arch = ["unet(filters=8)", "linknet"]
loss = "ce"
seed = [0, 1]
batch_size = 8
[[ensembles]]
of = ["seeds"]
[[ensembles]]
"""


def test_a_grid_is_every_combination_in_order(write: Write) -> None:
    recipe = read_recipe(write(GRID))
    assert [entry.label for entry in recipe.entries] == [
        "first",
        "unet(filters=8) x ce, batch_size=8, seed=0",
        "unet(filters=8) x ce, batch_size=8, seed=1",
        "linknet x ce, batch_size=8, seed=0",
        "linknet x ce, batch_size=8, seed=1",
    ]
    wanted = {"epochs": 2, "arch": "linknet", "loss": "ce", "seed": 1, "batch_size": 8}
    assert recipe.entries[-1].arguments == wanted
    seeds, everything = recipe.file.ensembles
    assert [entry.group for entry in recipe.members_of(seeds)] == ["seeds"] * 4
    assert recipe.members_of(everything) == recipe.entries


def test_what_a_member_does_not_name_is_as_in_ens_train(write: Write) -> None:
    (entry,) = read_recipe(write('name = "mine"\n[[members]]\nseed = 3\n')).entries
    assert entry.label == "unet x weighted-ce, seed=3"
    assert entry.arguments == {"arch": "unet", "loss": "weighted-ce", "seed": 3}


@pytest.mark.parametrize("table", ["[[members]]", "[[grid]]", '[[grid]]\ngroup = "nothing"'])
def test_an_empty_table_is_no_member(write: Write, table: str) -> None:
    with pytest.raises(EnsError, match=r"expected settings of each member in mine.toml, found an empty table"):
        read_recipe(write(f'name = "mine"\n{table}\n'))


def test_data_is_found_beside_the_recipe_and_can_be_replaced(write: Write, tmp_path: Path) -> None:
    path = write('data = "tiles.npz"\n' + GRID)
    assert read_recipe(path).file.data == "tiles.npz"
    (tmp_path / "tiles.npz").touch()
    assert read_recipe(path).file.data == str(tmp_path / "tiles.npz")
    assert read_recipe(path, "other.npz").file.data == "other.npz"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('loss = "dice"', 'los = "dice"'), "unknown setting 'los' in mine.toml; did you mean 'loss'"),
        (
            ('label = "first"', 'label = "unet(filters=8) x ce, batch_size=8, seed=0"'),
            "has two members called 'unet(filters=8) x ce",
        ),
        (('of = ["seeds"]', 'of = ["seed"]'), "unknown group or label of members 'seed'; did you mean 'seeds'"),
        (('of = ["seeds"]', 'of = ["first"]'), "expected at least two members in the ensemble of"),
        (("seed = [0, 1]", "seed = []"), "expected values for 'seed' in a [[grid]] of mine.toml, got an empty list"),
        (('name = "mine"', 'name = "a/b"'), "mine.toml is not a valid configuration: expected "),
        (('name = "mine"', ""), "mine.toml is not a valid configuration: expected "),
        (('name = "mine"', "name = "), "mine.toml cannot be read as TOML (Invalid value"),
        (('label = "first"', 'exclude = "{check}:repeated-mask"'), "add `check = true`"),
        (
            ('of = ["seeds"]', 'of = ["seeds"]\nmethod = "lerned"'),
            "ensemble 'lerned of seeds' of mine.toml: unknown method 'lerned'; did you mean 'learned'",
        ),
        (
            ('of = ["seeds"]', 'of = ["seeds"]\nmethod = "weighted(weights=[1, 1, 1, 1])"\ntop = 2'),
            "ensemble 'weighted(weights=[1, 1, 1, 1]) of seeds, top=2' of mine.toml: expected either weights or top",
        ),
        (
            ('of = ["seeds"]', ""),
            "mine.toml has an ensemble called 'learned of all 5' as another row is; give it another label",
        ),
        (
            ('of = ["seeds"]', 'label = "first"'),
            "mine.toml has an ensemble called 'first' as another row is; give it another label",
        ),
    ],
)
def test_mistakes_are_told(write: Write, change: tuple[str, str], message: str) -> None:
    with pytest.raises(EnsError) as error:
        read_recipe(write(GRID.replace(*change)))
    assert message in str(error.value)


def test_a_recipe_without_members_and_one_that_is_not_there(write: Write) -> None:
    with pytest.raises(EnsError, match=r"expected \[\[members\]\] or a \[\[grid\]\]"):
        read_recipe(write('name = "empty"'))
    with pytest.raises(EnsError, match="unknown recipe 'laddr'; did you mean 'ladder'"):
        read_recipe("laddr")


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_read_and_name_what_is_registered(name: str) -> None:
    from ensemble.architectures import ARCHITECTURES
    from ensemble.combining import COMBINERS
    from ensemble.core.component_text import parse_component
    from ensemble.data.augmentation.expression import resolve_augmentation
    from ensemble.losses import check_loss

    recipe = read_recipe(name)
    assert recipe.file.name == name
    assert recipe.file.question.endswith("?")
    for entry in recipe.entries:
        given = entry.arguments
        parse_component(given["arch"], ARCHITECTURES)
        check_loss(given["loss"])
        resolve_augmentation(given.get("augment", "flips"))
    assert {ensemble.method for ensemble in recipe.file.ensembles} <= set(COMBINERS)


def test_shipped_recipes_are_those_of_the_issue() -> None:
    questions = {"ladder", "architectures", "losses", "grid", "diversity", "seeds", "big-rock"}
    assert set(shipped_recipes()) == {
        *questions,
        "ablations",
        "ablation-seeds",
        "best-60min-imagenet",
        "best-60min-random",
    }
    assert {"arch", "loss", "seed", "augment", "folds", "epochs"} <= set(SETTINGS)


def test_a_part_of_a_recipe_has_its_own_name_and_the_ensembles_it_is_enough_for(write: Write) -> None:
    recipe = read_recipe(write(GRID))
    part = recipe.only(["seeds"])
    assert [entry.label for entry in part.entries] == [entry.label for entry in recipe.entries[1:]]
    assert part.file.ensembles == recipe.file.ensembles[:1]  # the second one is of all members
    assert part.file.name == "mine-seeds"
    both = recipe.only(["first", "linknet x ce, batch_size=8, seed=1"])
    assert [entry.label for entry in both.entries] == ["first", "linknet x ce, batch_size=8, seed=1"]
    assert both.file.ensembles == ()
    assert both.file.name == "mine-first-linknet-x-ce-batch_size-8-seed-1"
    assert recipe.only(["first", "seeds"]).file.ensembles == recipe.file.ensembles
    with pytest.raises(EnsError, match="unknown group or label of members 'seed'; did you mean 'seeds'"):
        recipe.only(["seed"])

"""The advice follows from the intervals and from nothing else."""

from __future__ import annotations

from itertools import product

import pytest

from ensemble.combining.advice import Advice, advise
from ensemble.evaluation import Comparison
from ensemble.evaluation.caveats import ENOUGH_GROUPS, too_few_groups

SIDES = {1: (0.01, 0.03), 0: (-0.01, 0.02), -1: (-0.03, -0.01)}


def advice_of(
    gain: int, own: tuple[int, int], average: tuple[int, int], name: str = "learned", groups: int = 60
) -> Advice:
    """The advice where intervals lie above, around or below zero; pairs are against the picked and the named member."""
    sides = {"method - average": gain, "method - best member": own[0], "method - member": own[1]}
    sides |= {"average - best member": average[0], "average - member": average[1]}
    found = {title: Comparison(sum(SIDES[side]) / 2, *SIDES[side], 0.5) for title, side in sides.items()}
    return advise(name, "unet-ce", found, groups)


def test_nothing_proven_recommends_the_single_member() -> None:
    found = advice_of(0, (0, 0), (0, 0))
    assert (found.use, found.proven) == ("member", ())
    assert found.text == (
        "Use the best member alone (unet-ce): neither 'learned' nor the average is proven better than it. Not proven,"
        " in points of mIoU: 'learned' against the average +0.50 (-1.00 to +2.00); 'learned' against the best member"
        " +0.50 (-1.00 to +2.00); the average against the best member +0.50 (-1.00 to +2.00)."
    )


def test_a_single_average_is_the_only_rival_of_the_best_member() -> None:
    found = advice_of(0, (0, 0), (0, 0), name="average")
    assert found.text.startswith(
        "Use the best member alone (unet-ce): the average is not proven better than it. Not proven"
    )


def test_the_method_wins_what_it_is_proven_to_win() -> None:
    found = advice_of(1, (1, 1), (0, 0))
    assert (found.use, found.proven) == ("method", (("method", "average"), ("method", "member")))
    assert found.text == (
        "Use 'learned'. Proven, in points of mIoU (95 % sure of all together): 'learned' is better than the average by"
        " +2.00 (+1.00 to +3.00); 'learned' is better than the best member (unet-ce) by +2.00 (+1.00 to +3.00). Not"
        " proven, in points of mIoU: the average against the best member (unet-ce) +0.50 (-1.00 to +2.00)."
    )


def test_losses_are_stated_from_the_better_one() -> None:
    found = advice_of(-1, (-1, -1), (0, 0))
    assert found.use == "member"
    assert "the average is better than 'learned' by +2.00 (+1.00 to +3.00)" in found.text
    assert "the best member is better than 'learned' by +2.00 (+1.00 to +3.00)" in found.text


@pytest.mark.parametrize(
    ("gain", "own", "average", "use"),
    [
        (0, 1, 1, "average"),  # both ensembles are proven, and the average has nothing to fit
        (0, 1, 0, "method"),  # only the method is proven better than a member: never the average here
        (1, 1, 1, "method"),
        (1, 1, 0, "method"),
        (1, 0, 1, "method"),
        (-1, 1, 0, "average"),
        (-1, 1, 1, "average"),
        (0, 0, 1, "average"),
        (1, 0, 0, "member"),
        (0, 0, -1, "member"),
        (0, -1, -1, "member"),
    ],
)
def test_the_decision_moves_on_only_to_what_is_proven_better(gain: int, own: int, average: int, use: str) -> None:
    found = advice_of(gain, (own, own), (average, average))
    assert found.use == use
    name = {"method": "'learned'.", "average": "the average.", "member": "the best member alone (unet-ce): neither"}
    assert found.text.startswith(f"Use {name[use]}")


@pytest.mark.parametrize("signs", list(product((-1, 0, 1), repeat=5)))
def test_no_advice_goes_against_an_interval(signs: tuple[int, ...]) -> None:
    gain, *members = signs
    own, average = (members[0], members[1]), (members[2], members[3])
    found = advice_of(gain, own, average)
    for system, sides in (("method", own), ("average", average)):
        assert ((system, "member") in found.proven) == (sides == (1, 1))  # against both members, else not proven
        assert (("member", system) in found.proven) == (sides == (-1, -1))
    assert (("method", "average") in found.proven) == (gain == 1)
    assert found.text.count("is better than") == len(found.proven)
    # What is used is proven better than the member by a chain of proofs, and nothing is proven better than it.
    if found.use == "average":
        assert average == (1, 1) or (gain == -1 and own == (1, 1))
        assert not (gain == 1 and own == (1, 1))
    elif found.use == "method":
        assert own == (1, 1) or (gain == 1 and average == (1, 1))
    else:
        assert own != (1, 1)
        assert average != (1, 1)


def test_the_average_itself_is_compared_with_the_best_member_only() -> None:
    found = advice_of(0, (1, 1), (1, 1), "average")
    assert (found.use, found.proven) == ("average", (("average", "member"),))
    assert found.text == (
        "Use the average. Proven, in points of mIoU (95 % sure of all together): the average is better than the best"
        " member (unet-ce) by +2.00 (+1.00 to +3.00)."
    )
    assert advice_of(0, (0, 0), (0, 0), "average").use == "member"


def test_the_most_cautious_of_two_members_is_shown() -> None:
    found = {title: Comparison(0.02, 0.01, 0.03, 1.0) for title in ("method - average", "average - best member")}
    found |= {"average - member": Comparison(0.01, 0.005, 0.015, 1.0)}
    assert "(unet-ce) by +1.00 (+0.50 to +1.50)" in advise("average", "unet-ce", found, 60).text
    found |= {"average - best member": Comparison(-0.01, -0.015, -0.005, 0.0)}
    found |= {"average - member": Comparison(-0.02, -0.03, -0.01, 0.0)}
    text = advise("average", "unet-ce", found, 60).text
    assert "the best member is better than the average by +1.00 (+0.50 to +1.50)" in text


def test_too_few_groups_give_no_advice() -> None:
    for groups in (2, ENOUGH_GROUPS - 1):
        found = advice_of(1, (1, 1), (1, 1), groups=groups)
        assert (found.use, found.proven, found.text) == ("", (), too_few_groups(groups))
        assert f"tell: {groups}, and at least {ENOUGH_GROUPS} are needed" in found.text
    assert advice_of(1, (1, 1), (1, 1), groups=ENOUGH_GROUPS).use == "method"

"""A node that is named twice counts once, and whoever names it is told."""

import pytest

from attribution.splice.spliced_model import TOKENS
from circuits.ablation.named_twice import named_twice
from circuits.ablation.node_names import NodeName

SITE = "blocks.2.hook_resid_post"
ROWS = (("bos", "the", "subject", "verb"), ("bos", "subject", "adverb", "verb"))


def at(position: str | int | None, index: int = 7, site: str = SITE) -> NodeName:
    return NodeName(site, index, position)


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        (at("subject"), at("subject"), 2),
        (at(2), at("subject"), 1),
        (at("-1"), at("verb"), 2),
        (at("-1"), at(3), 2),
        (at(None), at(3), 2),
        (at(None), at(None), 2),
        (at("subject", -1, TOKENS), at(1, -1, TOKENS), 1),
    ],
)
def test_two_names_of_one_node_are_said_with_the_prompts_in_which_they_are_one(
    one: NodeName, other: NodeName, shared: int
) -> None:
    (found,) = named_twice([one, at("verb", 8), other], ROWS)
    assert found.figures == {"shared": shared, "pairs": 2}
    assert str(one) in found.sentence
    assert str(other) in found.sentence
    assert ("in 1 of 2 prompts" in found.sentence) == (shared == 1)


def test_different_nodes_are_not_named_twice() -> None:
    names = [at("subject"), at("verb"), at("subject", 8), at("subject", -1), at("subject", 7, "blocks.3.hook_mlp_out")]
    assert named_twice(names, ROWS) == ()
    assert named_twice([at(9), at("9")], ROWS) == ()

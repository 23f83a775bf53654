"""A circuit's nodes in prompts that it was not found on."""

import pytest

from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.node_keys import NodeOfExample, node_of_key
from circuits.ranking.positions import member_keys
from graphs import ErrorNode, FeatureNode, MetricNode, Position, TokenNode

SITES = ("blocks.0.hook_mlp_out", "blocks.1.hook_resid_post")
POSITIONS = tuple(Position(name, "", "") for name in ("subject", "preposition", "verb"))


def pair(*roles: str) -> PromptPair:
    clean = tuple(range(len(roles)))
    return PromptPair(clean, (9, *clean[1:]), 0, 1, roles)


def test_a_node_stands_where_the_name_of_its_position_stands() -> None:
    pairs = PromptPairs((pair("subject", "verb"), pair("adverb", "subject", "preposition", "verb")))
    nodes = (FeatureNode(SITES[1], 0, 7), ErrorNode(SITES[0], 1), TokenNode(2), MetricNode("logit_difference"))
    found = {node_of_key(int(key), ("hook_embed", *SITES)) for key in member_keys(nodes, POSITIONS, pairs, SITES)}
    assert found == {
        NodeOfExample(0, SITES[1], 0, "feature", 7),
        NodeOfExample(1, SITES[1], 1, "feature", 7),
        NodeOfExample(1, SITES[0], 2, "error", -1),
        NodeOfExample(0, "hook_embed", 1, "token", -1),
        NodeOfExample(1, "hook_embed", 3, "token", -1),
    }


def test_a_site_that_is_not_spliced_is_an_error() -> None:
    with pytest.raises(LookupError, match=r"No SAE is spliced in at 'blocks\.9"):
        member_keys([ErrorNode("blocks.9.hook_mlp_out", 0)], POSITIONS, PromptPairs((pair("subject"),)), SITES)

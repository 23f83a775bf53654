"""A circuit's nodes in prompts that it was not found on."""

from collections import Counter
from dataclasses import replace

import pytest

from attribution.prompts.metrics import logit_difference
from attribution.prompts.position_names import PositionScheme, column_names, scheme_of
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.node_keys import NodeOfExample, node_of_key
from circuits import load_model, load_saes, prompt_pairs, splice
from circuits.discovery.discover import discover
from circuits.discovery.selection import Selection
from circuits.ranking.positions import align_positions, member_keys, token_in_words
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


@pytest.mark.parametrize(
    ("other", "scheme", "vary"),
    [
        (("verb", "subject", "end"), "role", True),
        (("subject", "preposition", "verb", "end"), "role", False),
        (("verb", "subject", "end"), "offset", False),
        (("verb", "subject", "end"), "none", False),
    ],
)
def test_roles_may_change_places_between_prompts(other: tuple[str, ...], scheme: PositionScheme, vary: bool) -> None:
    pairs = PromptPairs((pair("subject", "verb", "end"), pair(*other)))
    assert align_positions(pairs, load_model(), scheme).vary == vary


def test_a_circuit_of_roles_that_change_places_may_have_edges_either_way() -> None:
    """In half of the pairs the subject and the end have exchanged their names, so flow goes both ways."""
    wanted = "1.hook_resid_post", "3.hook_resid_post"
    sites = {site: sae for site, sae in load_saes("relu").items() if site.endswith(wanted)}
    spliced = splice(load_model(), sites)
    rows = prompt_pairs("agreement", spliced.model, examples=4)
    swapped = {"subject": "end", "end": "subject"}
    turned = [replace(p, roles=tuple(swapped.get(role, role) for role in p.roles or ())) for p in rows.pairs[2:]]
    pairs = PromptPairs((*rows.pairs[:2], *turned))
    select = Selection(nodes=60)
    circuit = discover(spliced, pairs, logit_difference, select=select, compare=(), explained=0, resamples=0).circuit
    place = {w.node: getattr(w.node, "position", 10**6) for w in circuit.nodes}
    assert any(place[e.source] > place[e.target] for e in circuit.edges)
    assert circuit.measurement.positions_vary
    with pytest.raises(ValueError, match="goes backward in the text"):
        replace(circuit, measurement=replace(circuit.measurement, positions_vary=False))


def test_a_site_that_is_not_spliced_is_an_error() -> None:
    with pytest.raises(LookupError, match=r"No SAE is spliced in at 'blocks\.9"):
        member_keys([ErrorNode("blocks.9.hook_mlp_out", 0)], POSITIONS, PromptPairs((pair("subject"),)), SITES)


def test_a_node_stands_at_distances_and_everywhere_but_not_at_a_bos_that_is_not_spliced() -> None:
    bos = 0
    pairs = PromptPairs((PromptPair((bos, 5), (bos, 6), 1, 2), PromptPair((bos, 5, 7), (bos, 6, 7), 1, 2)))
    positions = (Position("-2", "", ""), Position("everywhere", "", ""))
    nodes = (FeatureNode(SITES[0], 0, 3), ErrorNode(SITES[1], 1))

    def places(unspliced: int | None) -> set[tuple[int, str, int]]:
        keys = member_keys(nodes, positions, pairs, SITES, unspliced)
        found = [node_of_key(int(key), ("hook_embed", *SITES)) for key in keys]
        return {(node.example, node.kind, node.position) for node in found}

    spliced = {(1, "feature", 1), (0, "error", 1), (1, "error", 1), (1, "error", 2)}
    assert places(bos) == spliced
    assert places(None) == spliced | {(0, "feature", 0), (0, "error", 0), (1, "error", 0)}


@pytest.mark.parametrize(
    ("tokens", "text"),
    [(("a", "a", "a"), "a"), (("a", "a", "a", "b"), "a (75%)"), (("a", "b", "c"), "various")],
)
def test_a_column_never_shows_the_first_prompts_token_as_if_it_were_all_s(tokens: tuple[str, ...], text: str) -> None:
    assert token_in_words(Counter(tokens)) == text


@pytest.mark.parametrize("role", ["everywhere", "-3"])
def test_a_role_that_names_other_positions_is_refused(role: str) -> None:
    with pytest.raises(ValueError, match="means something else"):
        PromptPairs((pair("subject", role),))


def test_the_scheme_follows_the_pairs_unless_one_is_asked_for() -> None:
    named, unnamed = PromptPairs((pair("a", "b"),)), PromptPairs((PromptPair((1, 2), (1, 3), 4, 5),))
    assert scheme_of(named) == "role"
    assert scheme_of(unnamed) == "offset", "one prompt's positions are known"
    assert scheme_of(PromptPairs(unnamed.pairs * 2)) == "none"
    assert scheme_of(named, "offset") == "offset"
    assert column_names(named, "none") == [("everywhere", "everywhere")]
    assert column_names(named, "offset") == [("-2", "-1")]
    with pytest.raises(ValueError, match="do not name their positions"):
        scheme_of(unnamed, "role")
    with pytest.raises(ValueError, match="No scheme of positions 'nowhere'"):
        scheme_of(unnamed, "nowhere")

"""The flow of one node's exact effect: its size, its conservation, and its ledger against do-runs."""

from functools import cache

import numpy as np
import pytest
import torch

from attribution.chord.chord_result import ChordAttribution
from attribution.edges.explain_node import explain_node
from attribution.effects.effects import Effects
from attribution.effects.quadrature import gauss_legendre
from attribution.methods.exact_patching import exact_patching
from attribution.prompts.metrics import logit_difference
from attribution.splice.spliced_model import ErrorMode
from graphs import ErrorNode, FeatureNode, TokenNode
from tests.twins.node_twins import Node, NodeTwin, every_kind_world, nodes_of, of_example
from tests.worlds.tiny_models import PAIRS, World

MODES: tuple[ErrorMode, ...] = ("live", "frozen", "zero")
CUTS = ("blocks.0.hook_resid_post", "blocks.1.hook_resid_post")
"""Sites that all of the residual stream passes: everything that a node before them does goes through them."""


@cache
def mixed() -> World:
    return every_kind_world()


@cache
def exact_of(mode: ErrorMode) -> Effects:
    return exact_patching(mixed().spliced, PAIRS, logit_difference, error_mode=mode)


def chosen_nodes(mode: ErrorMode, example: int) -> list[Node]:
    """The node with the strongest effect of every kind at every site."""
    effects = of_example(exact_of(mode), example)
    found: dict[tuple[int, int], int] = {}
    for n in np.argsort(-np.abs(effects.effect)):
        found.setdefault((int(effects.site[n]), int(effects.kind[n])), int(n))
    return nodes_of(effects.subset(np.array(sorted(found.values()))))


@cache
def explained(node: Node, example: int, mode: ErrorMode) -> ChordAttribution:
    return explain_node(
        mixed().spliced,
        PAIRS,
        logit_difference,
        node,
        example=example,
        error_mode=mode,
        points=gauss_legendre(16),
    )


def flow_through(flow: ChordAttribution, site: str) -> float:
    """Sum of the effects at a site and of the undivided jumps at later sites."""
    order = mixed().spliced.sites
    beyond = np.array([order.index(site) < number for number in flow.ledger.site], dtype=bool)
    return float(flow.effects.effect[flow.effects.at(site)].sum() + flow.ledger.undivided[beyond].sum())


@pytest.mark.parametrize("mode", MODES)
def test_the_total_effect_is_the_exact_effect_of_the_node(mode: ErrorMode) -> None:
    kinds = set[str]()
    twin = NodeTwin(mixed(), PAIRS[1], mode)
    for node in chosen_nodes(mode, 1):
        flow = explained(node, 1, mode)
        assert flow.effects.total_effect.tolist() == pytest.approx([twin.exact(node)], rel=1e-6, abs=1e-13)
        kinds.add(node.kind)
    assert kinds == ({"token", "feature"} if mode == "zero" else {"token", "feature", "error"})


@pytest.mark.parametrize("mode", MODES)
def test_the_flow_through_every_full_cut_is_the_exact_effect(mode: ErrorMode) -> None:
    order, cuts = mixed().spliced.sites, 0
    twin = NodeTwin(mixed(), PAIRS[1], mode)
    for node in chosen_nodes(mode, 1):
        start = -1 if isinstance(node, TokenNode) else order.index(node.site)
        flow, exact = explained(node, 1, mode), twin.exact(node)
        scale = max(abs(exact), np.abs(flow.effects.effect).max())
        for cut in CUTS:
            if order.index(cut) > start:
                assert flow_through(flow, cut) == pytest.approx(exact, rel=1e-6, abs=1e-6 * scale)
                cuts += 1
        own = flow.effects.effect[[n == node for n in nodes_of(flow.effects)]]
        assert own.sum() + flow.ledger.undivided.sum() == pytest.approx(exact, rel=1e-6, abs=1e-6 * scale)
        assert flow.effects.residual is not None
        np.testing.assert_allclose(flow.effects.residual, 0, atol=1e-6 * scale)
    assert cuts >= 7


@pytest.mark.parametrize("mode", ["frozen", "zero"])
def test_the_ledger_lists_the_gates_that_differ_between_the_clean_run_and_the_do_run(mode: ErrorMode) -> None:
    listed, undivided = 0, 0.0
    twins = {example: NodeTwin(mixed(), PAIRS[example], mode) for example in (1, 2)}
    for example, twin in twins.items():
        for node in chosen_nodes(mode, example)[:: 1 if example == 1 else 3]:
            ledger = explained(node, example, mode).ledger
            columns = zip(ledger.site, ledger.position, ledger.index, ledger.opened, strict=True)
            found = {(ledger.sites[s], int(p), int(i)): bool(opened) for s, p, i, opened in columns}
            assert len(found) == len(ledger)
            assert found == twin.flipped(node)
            listed += len(found)
            undivided += float(np.abs(ledger.undivided).sum())
    assert listed > 20
    assert undivided > 0


def test_the_ledger_is_empty_in_live_mode() -> None:
    for node in chosen_nodes("live", 1)[:3]:
        assert len(explained(node, 1, "live").ledger) == 0


@pytest.mark.parametrize("mode", MODES)
def test_only_the_node_itself_and_what_it_changes_downstream_is_in_the_flow(mode: ErrorMode) -> None:
    order = mixed().spliced.sites
    twin = NodeTwin(mixed(), PAIRS[1], mode)
    for node in chosen_nodes(mode, 1):
        start = -1 if isinstance(node, TokenNode) else order.index(node.site)
        found = nodes_of(explained(node, 1, mode).effects)
        assert node in found
        with torch.no_grad():
            run = twin.run(node, [0.0, 1.0])
        changed: set[Node] = {node}
        for site in twin.downstream(node):
            first = node.position
            places = torch.nonzero((run.f[site][1] - run.f[site][0])[first:]).tolist()
            changed |= {FeatureNode(site, first + p, i) for p, i in places}
        others = {n for n in found if not isinstance(n, ErrorNode)} - {node}
        assert others == changed - {node}
        for other in found:
            assert other == node or order.index(getattr(other, "site", "")) > start
            assert other.position >= node.position
            assert other == node or not isinstance(other, ErrorNode) or mode == "live"


def strongest(mode: ErrorMode, example: int) -> Node:
    effects = of_example(exact_of(mode), example)
    return nodes_of(effects.subset(np.array([np.abs(effects.effect).argmax()])))[0]


def test_a_node_with_the_same_value_in_both_prompts_is_an_error() -> None:
    spliced = mixed().spliced
    for same in (TokenNode(5), FeatureNode(CUTS[0], 1, 0), ErrorNode(CUTS[0], 1)):
        with pytest.raises(LookupError, match="has the same value in both prompts: patching it changes nothing"):
            explain_node(spliced, PAIRS, logit_difference, same, example=1)
    with pytest.raises(LookupError, match="has the same value in both prompts"):
        explain_node(spliced, PAIRS, logit_difference, ErrorNode(CUTS[0], 4), example=1, error_mode="zero")


def test_an_unknown_site_is_an_error_that_lists_the_sites() -> None:
    with pytest.raises(LookupError, match=r"Spliced sites: blocks\.0\.hook_attn_out, "):
        explain_node(mixed().spliced, PAIRS, logit_difference, FeatureNode("blocks.7.hook_mlp_out", 3, 0))
    with pytest.raises(LookupError, match=r"No SAE is spliced in at 'blocks\.0\.hook_resid_pre'"):
        explain_node(mixed().spliced, PAIRS, logit_difference, ErrorNode("blocks.0.hook_resid_pre", 3))


@pytest.mark.parametrize("example", [-1, 3])
def test_an_example_that_does_not_exist_is_an_error(example: int) -> None:
    node = strongest("frozen", 1)
    with pytest.raises(LookupError, match=f"There is no example {example}: the pairs are numbered 0 to 2"):
        explain_node(mixed().spliced, PAIRS, logit_difference, node, example=example)


def test_path_mode_is_an_error() -> None:
    node = strongest("frozen", 1)
    with pytest.raises(ValueError, match="A node is patched in error mode live, frozen or zero; got 'path'"):
        explain_node(mixed().spliced, PAIRS, logit_difference, node, example=1, error_mode="path")

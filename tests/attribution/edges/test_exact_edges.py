"""Exact edges: path patching against whole forwards with every other site held by hand."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from attribution.edges.chord_edges import chord_edges
from attribution.edges.edges import METRIC_KEY
from attribution.edges.exact_edges import exact_edges
from attribution.effects.effects import Effects
from attribution.methods.exact_patching import exact_patching
from attribution.models.hooks import logits_with
from attribution.models.language_model import LanguageModel
from attribution.prompts.metrics import logit_difference
from attribution.splice.node_keys import NodeOfExample, node_of_key
from attribution.splice.recording import ErrorMode
from attribution.splice.resuming import TOKENS
from tests.worlds.tiny_models import JUMPRELU_SITES, PAIRS, World, saes_on


@pytest.fixture(scope="module")
def world(llama: LanguageModel) -> World:
    return World(llama, saes_on(llama, JUMPRELU_SITES))


@pytest.fixture(scope="module")
def nodes(world: World) -> Effects:
    return exact_patching(world.spliced, PAIRS, logit_difference, error_mode="frozen")


@pytest.fixture(scope="module")
def ends(world: World, nodes: Effects) -> tuple[np.ndarray, np.ndarray]:
    """Sources and targets of the strongest chord edges, and of some weak ones."""
    every = chord_edges(world.spliced, PAIRS, logit_difference, nodes)
    order = np.argsort(-np.abs(every.weight))
    chosen = np.concatenate([order[:40], order[len(order) // 2 :][::97]])
    return every.source[chosen], every.target[chosen]


def difference(logits: Tensor, example: int) -> float:
    pair = PAIRS[example]
    return float(logits[0, -1, pair.answer_id] - logits[0, -1, pair.foil_id])


class ByHand:
    """One edge by whole forwards from the tokens, one prompt, every site's function written out."""

    def __init__(self, world: World, mode: ErrorMode) -> None:
        self.world, self.mode = world, mode

    def record(self, ids: tuple[int, ...]) -> dict[str, Tensor]:
        """The arrivals at every site in the clean run of this mode, and the residual stream into block 0."""
        seen: dict[str, Tensor] = {}

        def watch(site: str) -> Callable[[Tensor], Tensor]:
            def function(x: Tensor) -> Tensor:
                seen[site] = x
                return self.written(site, x) if self.mode == "zero" else x

            return function

        def enter(x: Tensor) -> Tensor:
            seen[TOKENS] = x
            return x

        functions = {site: watch(site) for site in self.world.spliced.sites}
        seen["logits"] = logits_with(self.world.model, torch.tensor([ids]), functions, enter=enter)
        return seen

    def parts(self, site: str, x: Tensor) -> tuple[Tensor, Tensor]:
        sae = self.world.spliced.saes[site]
        here = torch.tensor([i > 0 or not self.bos for i in range(x.shape[1])])[None, :, None]
        f = sae.encode(x).features * here
        return f, (x - sae.decode(f, None)) * here

    def written(self, site: str, x: Tensor, error: Tensor | None = None) -> Tensor:
        f, _ = self.parts(site, x)
        y = self.world.spliced.saes[site].decode(f, None) + (0 if error is None else error)
        return torch.cat([x[:, :1], y[:, 1:]], 1) if self.bos else y

    def weight(self, source: NodeOfExample, target: NodeOfExample | None) -> float:
        pair, world = PAIRS[source.example], self.world
        self.bos = pair.clean_ids[0] == world.model.bos_id
        clean, patch = self.record(pair.clean_ids), self.record(pair.patch_ids)
        sites = world.spliced.sites
        outputs = {s: self.written(s, clean[s]) if self.mode == "zero" else clean[s] for s in sites}
        entry = clean[TOKENS].clone()
        if source.kind == "token":
            entry[0, source.position] = patch[TOKENS][0, source.position]
        else:
            (f_c, e_c), (f_p, e_p) = (self.parts(source.site, run[source.site]) for run in (clean, patch))
            p, i = source.position, source.index
            moved = e_p[0, p] - e_c[0, p]
            if source.kind == "feature":
                moved = (f_p[0, p, i] - f_c[0, p, i]) * world.spliced.saes[source.site].W_dec[i]
            outputs[source.site] = outputs[source.site].clone()
            outputs[source.site][0, p] += moved
        arrived: dict[str, Tensor] = {}

        def hold(site: str) -> Callable[[Tensor], Tensor]:
            def function(x: Tensor) -> Tensor:
                arrived[site] = x
                return outputs[site]

            return function

        ids = torch.tensor([pair.clean_ids])
        logits = logits_with(world.model, ids, {s: hold(s) for s in sites}, enter=lambda _: entry)
        base = difference(clean["logits"], source.example)
        if target is None:
            return difference(logits, source.example) - base
        return self.downstream(ids, clean, arrived[target.site], target) - base

    def downstream(self, ids: Tensor, clean: dict[str, Tensor], x: Tensor, target: NodeOfExample) -> float:
        """m(do(f_d = E(x)_d)), with the sites after d spliced in this mode."""
        sites, p, i = self.world.spliced.sites, target.position, target.index
        new, old = (self.parts(target.site, a)[0][0, p, i] for a in (x, clean[target.site]))

        def function(site: str) -> Callable[[Tensor], Tensor]:
            error = None if self.mode == "zero" else self.parts(site, clean[site])[1]

            def at(x: Tensor) -> Tensor:
                y = self.written(site, x, error)
                if site == target.site:
                    y = y.clone()
                    y[0, p] += (new - old) * self.world.spliced.saes[site].W_dec[i]
                return y

            return at

        return difference(logits_with(self.world.model, ids, {s: function(s) for s in sites}), target.example)


@pytest.mark.parametrize("mode", [pytest.param("frozen", marks=pytest.mark.slow), "zero"])
@torch.no_grad()
def test_exact_edges_equal_whole_forwards_with_every_site_held_by_hand(
    world: World, ends: tuple[np.ndarray, np.ndarray], mode: ErrorMode
) -> None:
    sites = (TOKENS, *world.spliced.sites)
    chosen = np.array([mode == "frozen" or node_of_key(int(s), sites).kind != "error" for s in ends[0]])
    source, target = (end[chosen] for end in ends)
    known = exact_patching(world.spliced, PAIRS, logit_difference, error_mode=mode).keys()
    there = np.isin(source, known)
    source, target = source[there], target[there]
    assert len(source) > 15
    found = exact_edges(world.spliced, PAIRS, logit_difference, source, target, error_mode=mode, runs_at_once=7)
    by_hand = ByHand(world, mode)
    for weight, s, t in zip(found.tolist(), source.tolist(), target.tolist(), strict=True):
        end = None if t == METRIC_KEY else node_of_key(t, sites)
        assert weight == pytest.approx(by_hand.weight(node_of_key(s, sites), end), rel=1e-6, abs=1e-8)


def test_keys_name_their_nodes(world: World, nodes: Effects) -> None:
    for n in range(0, len(nodes), 11):
        node = node_of_key(int(nodes.keys()[n]), nodes.sites)
        assert node.example == nodes.example[n]
        assert node.site == nodes.sites[nodes.site[n]]
        assert (node.position, node.index) == (nodes.position[n], nodes.index[n])


def test_an_edge_without_a_direct_path_is_refused(world: World, nodes: Effects) -> None:
    keys, sites = nodes.keys(), nodes.sites
    below = keys[nodes.at("blocks.0.hook_mlp_out") & nodes.of_kind("feature")][:1]
    above = keys[nodes.at("blocks.1.hook_mlp_out") & nodes.of_kind("feature")][:1]
    error = keys[nodes.of_kind("error")][-1:]
    arguments = (world.spliced, PAIRS, logit_difference)
    with pytest.raises(ValueError, match=r"No direct path leads from blocks\.0\.hook_mlp_out/"):
        exact_edges(*arguments, below, above)
    with pytest.raises(ValueError, match=r"No direct path leads from blocks\.1\.hook_mlp_out/"):
        exact_edges(*arguments, above, below)
    with pytest.raises(ValueError, match="edges end in features of the same example"):
        exact_edges(*arguments, below, error)
    with pytest.raises(ValueError, match="frozen or zero; got 'live'"):
        exact_edges(*arguments, above, np.array([METRIC_KEY]), error_mode="live")
    assert sites[0] == TOKENS

"""Edits of many nodes at once equal plain hooked runs, row by row, and say what they changed."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from attribution.splice.edits import (
    ERROR,
    EVERYWHERE,
    REMOVE,
    KeepOnly,
    NodeEdit,
    Operation,
    ReferenceValues,
    SiteNodes,
    add,
    scale,
    set_to,
)
from attribution.splice.spliced_model import ErrorMode
from tests.twins import method_twins as twins
from tests.worlds.tiny_models import World

IDS = torch.tensor([[0, 5, 9, 3, 2], [0, 7, 8, 2, 11]])
SITE, LATER = "blocks.0.hook_mlp_out", "blocks.1.hook_mlp_out"
MODES: tuple[ErrorMode, ...] = ("live", "frozen", "zero")
NODES = [(0, 0, 2, 3), (0, 1, 4, 3), (1, 1, 1, 5), (2, EVERYWHERE, EVERYWHERE, 7)]
"""Feature 3 at position 2 of the first row and 4 of the second, feature 5 in the second row only, 7 everywhere."""
WITH_ERRORS = [*NODES, (3, 0, 3, ERROR)]


def random_reference(world: World, site: str, seed: int = 0) -> ReferenceValues:
    draw = torch.Generator().manual_seed(seed)
    sae = world.saes[site]
    features = torch.randn(2, 5, sae.d_sae, generator=draw, dtype=torch.float64).abs()
    return ReferenceValues(features, torch.randn(2, 5, sae.d_in, generator=draw, dtype=torch.float64))


def plain(
    nodes: list[tuple[int, int, int, int]],
    change: Callable[[Tensor, Tensor], Tensor],
    reference: ReferenceValues,
    row: int,
) -> twins.Edit:
    """One value after the other, written from what the edit is said to do."""

    def edit(site: str, f: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        f, e = f.clone(), e.clone()
        if site == SITE:
            for _, own, pos, index in nodes:
                for p in range(1, 5) if pos == EVERYWHERE else [pos]:  # BOS is not spliced
                    if own in (row, EVERYWHERE) and index == ERROR:
                        e[0, p] = change(e[0, p], reference.errors[row, p])
                    elif own in (row, EVERYWHERE):
                        f[0, p, index] = change(f[0, p, index], reference.features[row, p, index])
        return f, e

    return edit


def by_twin(world: World, mode: ErrorMode, edit_of: Callable[[int], twins.Edit]) -> Tensor:
    found: list[Tensor] = []
    with torch.no_grad():
        for row, ids in enumerate(IDS.tolist()):
            clean = twins.forward(world, ids, "live")
            found.append(twins.forward(world, ids, mode, errors=clean.e, edit=edit_of(row)).logits)
    return torch.cat(found)


OPERATIONS: dict[str, tuple[Operation, Callable[[Tensor, Tensor], Tensor]]] = {
    "remove": (REMOVE, lambda now, reference: reference),
    "set": (set_to(1.5), lambda now, reference: torch.full_like(now, 1.5)),
    "add": (add(-0.5), lambda now, reference: now - 0.5),
    "scale": (scale(3.0), lambda now, reference: 3 * now),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_edits_equal_the_twin_at_positions_that_differ_from_row_to_row(
    world: World, name: str, mode: ErrorMode
) -> None:
    operation, change = OPERATIONS[name]
    nodes = WITH_ERRORS if operation.for_errors and mode != "zero" else NODES
    reference = random_reference(world, SITE)
    edit = NodeEdit(SITE, SiteNodes.of(nodes), operation, reference)
    found = world.spliced.run(IDS, [edit], error_mode=mode).logits[:, -1]
    expected = by_twin(world, mode, lambda row: plain(nodes, change, reference, row))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
    assert (found - world.spliced.run(IDS, error_mode=mode).logits[:, -1]).abs().max() > 1e-6


@pytest.mark.parametrize("mode", MODES)
def test_keep_only_gives_every_other_node_its_reference_and_encodes_the_kept_in_the_same_run(
    world: World, mode: ErrorMode
) -> None:
    references = {site: random_reference(world, site, seed) for seed, site in enumerate(world.spliced.sites)}
    kept = {SITE: WITH_ERRORS, LATER: NODES}
    edits = [KeepOnly(site, SiteNodes.of(kept.get(site, [])), references[site]) for site in world.spliced.sites]

    def edit_of(row: int) -> twins.Edit:
        def edit(site: str, f: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
            new_f, new_e = references[site].features[[row]].clone(), references[site].errors[[row]].clone()
            new_f[0, 0], new_e[0, 0] = f[0, 0], e[0, 0]  # BOS is not spliced
            for _, own, pos, index in kept.get(site, []):
                for p in range(1, 5) if pos == EVERYWHERE else [pos]:
                    if own not in (row, EVERYWHERE):
                        continue
                    if index == ERROR:
                        new_e[0, p] = e[0, p]
                    else:
                        new_f[0, p, index] = f[0, p, index]
            return new_f, new_e

        return edit

    found = world.spliced.run(IDS, edits, error_mode=mode).logits[:, -1]
    torch.testing.assert_close(found, by_twin(world, mode, edit_of), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("mode", ["live", "frozen"])
def test_keeping_everything_is_the_bare_model_to_the_last_bit(world: World, mode: ErrorMode) -> None:
    edits: list[KeepOnly] = []
    for site in world.spliced.sites:
        every = range(-1, world.saes[site].d_sae)
        nodes = SiteNodes.of((n, EVERYWHERE, EVERYWHERE, n) for n in every)
        edits.append(KeepOnly(site, nodes, random_reference(world, site)))
    run = world.spliced.run(IDS, edits, error_mode=mode)
    assert torch.equal(run.logits, world.model.module(IDS))
    assert sum(t.values for own in run.touched.values() for t in own) == 0


def test_removing_and_adding_compose_to_setting(world: World) -> None:
    nodes = SiteNodes.of(NODES)
    both = [NodeEdit(SITE, nodes, operation, ReferenceValues.zero()) for operation in (REMOVE, add(2.5))]
    one = [NodeEdit(SITE, nodes, set_to(2.5), ReferenceValues.zero())]
    for mode in MODES:
        run, expected = (world.spliced.run(IDS, edits, error_mode=mode) for edits in (both, one))
        assert torch.equal(run.features[SITE].dense(), expected.features[SITE].dense())
        assert torch.equal(run.logits, expected.logits)


def test_touched_names_the_nodes_that_changed_something(llama_world: World) -> None:
    dense = llama_world.spliced.run(IDS).features[SITE].dense()
    active, inactive = torch.nonzero(dense)[0].tolist(), torch.nonzero(dense[:, 1:] == 0)[0].tolist()
    inactive[1] += 1
    nodes = [(7, *active), (8, *inactive), (9, EVERYWHERE, EVERYWHERE, active[2])]
    run = llama_world.spliced.run(IDS, [NodeEdit(SITE, SiteNodes.of(nodes), REMOVE, ReferenceValues.zero())])
    (touched,) = run.touched[SITE]
    assert touched.nodes.tolist() == [7, 9]
    assert touched.values == int((dense[..., active[2]] != 0).sum())


def test_what_arrived_and_what_was_written_are_told_apart(llama_world: World) -> None:
    clean = llama_world.spliced.run(IDS)
    run = llama_world.spliced.run(IDS, [NodeEdit(SITE, SiteNodes.of(NODES), add(2.0), ReferenceValues.zero())])
    assert torch.equal(run.encoded[SITE].dense(), clean.features[SITE].dense())
    assert not torch.equal(run.features[SITE].dense(), clean.features[SITE].dense())
    assert not torch.equal(run.encoded[LATER].dense(), clean.features[LATER].dense())


@pytest.mark.parametrize(
    ("node", "match"),
    [
        ((0, 0, 2, 99), "features 0 to 11"),
        ((0, 0, 5, 3), "positions run from 0 to 4"),
        ((0, 0, 0, 3), "position 0 is not spliced"),
    ],
)
def test_nodes_that_are_not_there_are_an_error(llama_world: World, node: tuple[int, int, int, int], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        llama_world.spliced.run(IDS, [NodeEdit(SITE, SiteNodes.of([node]), set_to(1.0), ReferenceValues.zero())])


def test_a_site_without_an_sae_is_an_error(llama_world: World) -> None:
    edit = NodeEdit("blocks.1.hook_attn_out", SiteNodes.of(NODES), set_to(1.0), ReferenceValues.zero())
    with pytest.raises(LookupError, match=r"No SAE is spliced in at 'blocks\.1\.hook_attn_out'"):
        llama_world.spliced.run(IDS, [edit])


def test_keeping_only_some_nodes_beside_another_edit_of_the_site_is_an_error(llama_world: World) -> None:
    nodes, zero = SiteNodes.of(NODES), ReferenceValues.zero()
    with pytest.raises(ValueError, match=f"Cannot keep only some nodes of {SITE} and edit that site"):
        llama_world.spliced.run(IDS, [NodeEdit(SITE, nodes, set_to(1.0), zero), KeepOnly(SITE, nodes, zero)])

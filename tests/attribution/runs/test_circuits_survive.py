"""What comes after the effects survives too: edges, faithfulness, the quality of SAEs."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attribution.checking.own_path import own_paths
from attribution.checking.sae_quality import sae_quality
from attribution.checking.verification import choose_nodes
from attribution.edges.chord_edges import chord_edges
from attribution.edges.edges import Edges
from attribution.edges.gradient_edges import gradient_edges
from attribution.effects.effects import Effects
from attribution.effects.metric_keeping import EVERYTHING, NOTHING, Kept, metric_keeping
from attribution.effects.quadrature import gauss_legendre
from attribution.methods.attribution_patching import attribution_patching
from attribution.prompts.metrics import METRICS, logit_difference
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs import chunk_store as execution
from attribution.runs.chunk_store import ChunkStore, kept_in
from attribution.runs.memory import Room
from attribution.splice.node_keys import keys_of_examples
from attribution.splice.patch_values import counterfactual as patch_prompt
from attribution.splice.prompt_references import Mean, Resample
from attribution.splice.references import counterfactual, zero
from circuits.discovery.discover import Found, discover
from circuits.discovery.selection import Selection
from tests.attribution.effects.test_metric_keeping import some_keys
from tests.attribution.runs.test_chunk_store import assert_same_bits, moved, some_sites
from tests.worlds.tiny_models import BOS, PAIRS, World

STAGES = ("kept_only", "edges", "sae_quality")
"""In the order in which a run comes to them."""
POINTS = gauss_legendre(3)
ALIKE = PromptPairs(
    tuple(PromptPair((BOS, n, n + 1, 3), (BOS, n, n + 4, 3), 4, 7, ("bos", "a", "b", "c")) for n in (5, 7, 9))
)
"""Pairs with the same names of positions, for references that are other prompts."""


def circuit(world: World) -> Found:
    options: dict[str, Any] = {"error_mode": "frozen", "compare": (), "rank_by": "atp", "explained": 0}
    given = some_sites(world, 2), PAIRS.head(2), logit_difference
    return discover(*given, select=Selection(faithful=0.5), **options)


def computed(store: ChunkStore) -> dict[str, int]:
    return {stage: tally.computed for stage, tally in store.tallies.items() if tally.computed}


@pytest.fixture
def pair_by_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """So little room that every batch is of one pair."""
    monkeypatch.setattr(Room, "pairs", lambda *_: 1)
    monkeypatch.setattr(Room, "texts", lambda *_: 1)


@pytest.mark.slow
@pytest.mark.usefixtures("pair_by_pair")
def test_a_run_stopped_in_a_later_stage_goes_on_there(
    llama_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kept_in(tmp_path / "whole") as store:
        whole = circuit(llama_world)
    chunks, done, write = computed(store), dict[str, int](), execution.write_chunk

    for stage in STAGES:

        def stopped(path: Path, *content: Any, stage: str = stage) -> None:
            if path.name.startswith(f"{stage}-") and list(path.parent.glob(f"{stage}-*")):
                raise KeyboardInterrupt
            write(path, *content)

        with monkeypatch.context() as patched, kept_in(tmp_path / "stopped") as store:
            patched.setattr(execution, "write_chunk", stopped)
            with pytest.raises(KeyboardInterrupt):
                circuit(llama_world)
        assert computed(store)[stage] == 1
        done = {name: done.get(name, 0) + computed(store).get(name, 0) for name in chunks}
    with kept_in(tmp_path / "stopped") as store:
        resumed = circuit(llama_world)
    assert computed(store)[STAGES[-1]] >= 1
    assert {name: count + computed(store).get(name, 0) for name, count in done.items()} == chunks
    assert resumed.circuit == whole.circuit
    assert_same_bits(resumed.effects, whole.effects)


MEASURED: dict[str, Callable[[World, Effects], Any]] = {
    "kept_only": lambda w, _: metric_keeping(w.spliced, PAIRS, logit_difference, kept_sets(w), zero, batch_size=2),
    "edges": lambda w, nodes: chord_edges(w.spliced, PAIRS, logit_difference, nodes, points=POINTS, batch_size=2),
    "gradient edges": lambda w, nodes: gradient_edges(w.spliced, PAIRS, logit_difference, nodes, batch_size=2),
    "gates_at_risk": lambda w, nodes: chosen_at_risk(w, nodes),
    "own_paths": lambda w, nodes: own_paths(
        w.spliced, PAIRS, logit_difference, ends(nodes), batch_size=2, rtol=0.1, resolution=0.1
    ),
    "sae_quality": lambda w, _: sae_quality(w.spliced, [p.clean_ids for p in PAIRS], "text", batch_size=2),
}


def ends(nodes: Effects) -> Effects:
    """The first and the last node: of two pairs."""
    return nodes.subset(np.array([0, len(nodes) - 1]))


def chosen_at_risk(world: World, nodes: Effects) -> list[int]:
    options: dict[str, Any] = {"error_mode": "frozen", "patch_value": patch_prompt, "verify": 40, "seed": 0}
    return choose_nodes(world.spliced, PAIRS, logit_difference, nodes, batch_size=2, **options).keys.tolist()


def kept_sets(world: World) -> list[Kept]:
    """More than one chunk holds."""
    keys = some_keys(world)
    return [EVERYTHING, NOTHING, *(Kept(keys[n::8], complement=n % 2 == 1) for n in range(8))]


@pytest.fixture(scope="module")
def nodes(llama_world: World) -> Effects:
    """Some nodes of every pair."""
    effects = attribution_patching(llama_world.spliced, PAIRS, logit_difference)
    return effects.subset(np.arange(len(effects)) % 5 == 0)


def assert_equal(one: Any, other: Any) -> None:
    if isinstance(one, np.ndarray):
        assert one.tobytes() == other.tobytes()
    elif isinstance(one, Edges):
        assert_same_bits(one, other)
    else:
        assert one == other


@pytest.mark.parametrize("what", MEASURED)
def test_with_and_without_chunks_the_bits_are_the_same(
    llama_world: World, nodes: Effects, tmp_path: Path, what: str
) -> None:
    found, stores = [], []
    for store in (nullcontext(), kept_in(tmp_path), kept_in(tmp_path)):
        with store as entered:
            found.append(MEASURED[what](llama_world, nodes))
            stores.append(entered)
    assert_equal(found[0], found[1])
    assert_equal(found[0], found[2])
    (tally,) = stores[2].tallies.values()
    assert tally.computed == 0
    assert tally.reused > 1


def test_edges_are_reused_wherever_their_pairs_stand(llama_world: World, nodes: Effects, tmp_path: Path) -> None:
    given = llama_world.spliced, PAIRS, logit_difference
    with kept_in(tmp_path):
        whole = chord_edges(*given, nodes, points=POINTS, batch_size=1)
    later = PromptPairs(PAIRS.pairs[1:])
    of_later = nodes.subset(nodes.example > 0)
    of_later = replace(of_later, example=of_later.example - 1)
    with kept_in(tmp_path) as store:
        moved_up = chord_edges(given[0], later, logit_difference, of_later, points=POINTS, batch_size=1)
    assert store.tallies["edges"].computed == 0
    chosen = whole.example > 0
    assert np.array_equal(moved_up.weight, whole.weight[chosen])
    assert np.array_equal(moved_up.source, keys_of_examples(whole.source[chosen], range(1, len(PAIRS))))
    assert np.array_equal(moved_up.target == -1, whole.target[chosen] == -1)


@pytest.mark.parametrize("method", [chord_edges, gradient_edges, own_paths])
def test_batches_of_fewer_than_one_pair_are_refused(
    llama_world: World, nodes: Effects, method: Callable[..., Any]
) -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1; got -1"):
        method(llama_world.spliced, PAIRS, logit_difference, nodes, batch_size=-1)


def test_parts_of_own_paths_are_reused_wherever_their_pairs_stand(
    llama_world: World, nodes: Effects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spliced, write = llama_world.spliced, execution.write_chunk
    last = ends(nodes)
    last = last.subset(last.example == last.example.max())
    alone = PromptPairs((PAIRS[int(last.example[0])],)), logit_difference, replace(last, example=last.example * 0)
    loose: dict[str, Any] = {"batch_size": 1, "rtol": 0.1, "resolution": 0.1}

    def parts_only(path: Path, *content: Any) -> None:
        if path.suffix == ".chunk":
            raise KeyboardInterrupt
        write(path, *content)

    with monkeypatch.context() as patched:
        patched.setattr(execution, "write_chunk", parts_only)
        with pytest.raises(KeyboardInterrupt), kept_in(tmp_path):
            own_paths(spliced, PAIRS, logit_difference, last, **loose)
    with kept_in(tmp_path) as store:
        found = own_paths(spliced, *alone, **loose)
    assert store.tallies["own_paths"].parts_reused == 1
    assert found.keys() == set(alone[2].keys().tolist())
    assert_equal(found, own_paths(spliced, *alone, **loose))


def keeping(world: World, **changed: Any) -> Callable[[], Any]:
    """Keeps half of all nodes in pairs of one length."""
    given = {
        "pairs": ALIKE,
        "metric": logit_difference,
        "kept": Kept(some_keys(world, ALIKE)),
        "reference": counterfactual,
        **changed,
    }
    return lambda: metric_keeping(world.spliced, given["pairs"], given["metric"], [given["kept"]], given["reference"])


def joining(
    world: World, nodes: Effects, method: Callable[..., Any] = chord_edges, **changed: Any
) -> Callable[[], Any]:
    options = {"targets": nodes, "sources": nodes, **({"points": POINTS} if method is chord_edges else {}), **changed}
    return lambda: method(world.spliced, PAIRS, logit_difference, **options)


def judging(world: World, **changed: Any) -> Callable[[], Any]:
    texts = [pair.clean_ids for pair in PAIRS]
    options: dict[str, Any] = {"prompts": texts, "last_only": [p.answer_id for p in PAIRS], **changed}
    return lambda: sae_quality(world.spliced, text="text", **options)


CHANGED: dict[str, Callable[[World, Effects], tuple[Callable[[], Any], Callable[[], Any]]]] = {
    "a node less": lambda w, _: (keeping(w), keeping(w, kept=Kept(some_keys(w, ALIKE)[:-1]))),
    "the rest": lambda w, _: (keeping(w), keeping(w, kept=Kept(some_keys(w, ALIKE), complement=True))),
    "errors": lambda w, _: (keeping(w), keeping(w, kept=Kept(some_keys(w, ALIKE), all_errors=True))),
    "reference": lambda w, _: (keeping(w), keeping(w, reference=zero)),
    "metric": lambda w, _: (keeping(w), keeping(w, metric=METRICS["log_probability"])),
    "pairs": lambda w, _: (keeping(w), keeping(w, pairs=PromptPairs((*ALIKE.pairs[:2], PAIRS[0])), kept=NOTHING)),
    "prompts of the mean": lambda w, _: (keeping(w, reference=Mean()), keeping(w, reference=Mean(ALIKE.head(1)))),
    "names of positions": lambda w, _: (
        keeping(w, reference=Mean()),
        keeping(w, reference=Mean(), pairs=PromptPairs(tuple(replace(pair, roles=tuple("abcd")) for pair in ALIKE))),
    ),
    "seed": lambda w, _: (keeping(w, reference=Resample(4, 0)), keeping(w, reference=Resample(4, 1))),
    "draws": lambda w, _: (keeping(w, reference=Resample(1)), keeping(w, reference=Resample(2))),
    "targets": lambda w, n: (joining(w, n), joining(w, n, targets=n.subset(np.arange(len(n)) % 2 == 0))),
    "sources": lambda w, n: (joining(w, n), joining(w, n, sources=n.subset(np.arange(len(n)) % 2 == 0))),
    "all sources": lambda w, n: (joining(w, n), joining(w, n, sources=None)),
    "points": lambda w, n: (joining(w, n), joining(w, n, points=gauss_legendre(4))),
    "slope cap": lambda w, n: (joining(w, n), joining(w, n, slope_cap=3.0)),
    "least": lambda w, n: (joining(w, n), joining(w, n, least=0.01)),
    "mode": lambda w, n: (joining(w, n), joining(w, n, error_mode="zero")),
    "way of joining": lambda w, n: (joining(w, n), joining(w, n, gradient_edges)),
    "text": lambda w, _: (judging(w), judging(w, prompts=[pair.patch_ids for pair in PAIRS])),
    "answers": lambda w, _: (judging(w), judging(w, last_only=[p.foil_id for p in PAIRS])),
    "every token": lambda w, _: (judging(w), judging(w, last_only=None)),
}


def tally(folder: Path, measure: Callable[[], Any]) -> tuple[int, int]:
    with kept_in(folder) as store:
        measure()
    (found,) = store.tallies.values()
    return found.computed, found.reused


@pytest.mark.parametrize("change", CHANGED)
def test_a_changed_input_is_never_reused(llama_world: World, nodes: Effects, tmp_path: Path, change: str) -> None:
    before, after = CHANGED[change](llama_world, nodes)
    first, _ = tally(tmp_path, before)
    assert tally(tmp_path, before) == (0, first)
    assert tally(tmp_path, after) == (first, 0)


@pytest.mark.parametrize("what", MEASURED)
def test_other_weights_are_never_reused(llama_world: World, nodes: Effects, tmp_path: Path, what: str) -> None:
    weights = next(p for p in llama_world.model.module.parameters() if p.ndim == 2)
    first, _ = tally(tmp_path, lambda: MEASURED[what](llama_world, nodes))
    with moved(weights):
        assert tally(tmp_path, lambda: MEASURED[what](llama_world, nodes)) == (first, 0)

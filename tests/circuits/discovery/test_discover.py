"""Discovery: chosen nodes, edges that balance, effects exact or screened, and one circuit of many pairs."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import attribution.chord.chord_integrated_gradients as chord_module
from attribution.chord.chord_integrated_gradients import chord_attribution, chord_integrated_gradients
from attribution.chord.chord_sweep import run_sweep
from attribution.effects.quadrature import gauss_legendre
from attribution.methods.exact_patching import exact_patching
from attribution.prompts.metrics import kl_divergence, logit_difference
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.patch_values import zero
from circuits.discovery.discover import Found, discover, discover_each
from circuits.discovery.measuring import MeasuredNodes, with_exact
from circuits.discovery.selection import Selection
from circuits.ranking.aggregate import rank_nodes
from graphs import ErrorNode, FeatureNode, MetricNode, TokenNode, findings
from tests.worlds.tiny_models import JUMPRELU_SITES, PAIRS, World, saes_on, tiny_model

ALL = Selection(nodes=10_000)


@cache
def world() -> World:
    model = tiny_model("llama")
    return World(model, saes_on(model, JUMPRELU_SITES))


def found(**options: Any) -> Found:
    quick: dict[str, Any] = {"error_mode": "frozen", "select": ALL, "compare": (), "rank_by": None, "least_edge": 0.0}
    options = {**quick, "positions": "offset", **options}
    return discover(world().spliced, PAIRS, logit_difference, **options)


@cache
def whole() -> Found:
    """Every node and every edge, with the flow of chord IG."""
    return found(compare=("chord-ig",))


def test_a_circuit_of_all_nodes_has_their_mean_exact_effects() -> None:
    effects = exact_patching(world().spliced, PAIRS, logit_difference, error_mode="frozen")
    expected = {w.node: w for w in rank_nodes(effects, PAIRS, world().model).nodes}
    kept = whole().circuit.strongest()
    assert len(kept) + whole().circuit.measurement.pruned == len(expected)
    for weighted in kept:
        truth = expected[weighted.node]
        assert (weighted.effect, weighted.count) == (truth.effect, truth.count)
        assert weighted.verified == weighted.count
    assert whole().verdict is None
    certificate = whole().circuit.certificate
    assert certificate is not None
    assert certificate.circuit_verified == 1


def test_what_enters_a_node_of_the_circuit_and_its_own_jump_is_what_it_carries() -> None:
    circuit = whole().circuit
    imbalance = circuit.measurement.edge_imbalance
    assert imbalance is not None
    assert imbalance < 1e-3
    allowed = 1e-3 * abs(circuit.measurement.total_effect)
    entering: dict[object, float] = {}
    for edge in circuit.edges:
        entering[edge.target] = entering.get(edge.target, 0.0) + edge.weight
    checked = 0
    for weighted in circuit.nodes:
        if isinstance(weighted.node, FeatureNode):
            assert weighted.carried is not None
            assert weighted.undivided is not None
            inflow = entering[weighted.node] + weighted.undivided
            assert inflow == pytest.approx(weighted.carried, abs=allowed)
            assert weighted.carried == pytest.approx(weighted.estimates["chord-ig"], abs=1e-4)
            checked += 1
    assert checked > 50
    (metric,) = (w for w in circuit.nodes if isinstance(w.node, MetricNode))
    assert entering[metric.node] == pytest.approx(metric.effect, abs=1e-4)


def test_edges_are_means_over_all_pairs_with_their_spread() -> None:
    each = [
        {(e.source, e.target): e.weight for e in one.circuit.edges}
        for one in discover_each(
            world().spliced,
            PAIRS,
            logit_difference,
            error_mode="frozen",
            select=ALL,
            compare=(),
            least_edge=0.0,
            positions="offset",
        )
    ]
    names = [len(pair) for pair in PAIRS]
    for edge in whole().circuit.edges[::17]:
        weights = []
        for length, own in zip(names, each, strict=True):
            here = [moved(node, length) for node in (edge.source, edge.target)]
            weights.append(own.get((here[0], here[1]), 0.0))
        assert edge.weight == pytest.approx(np.mean(weights), abs=1e-6)
        assert edge.mean_absolute == pytest.approx(np.mean(np.abs(weights)), abs=1e-6)
        assert edge.standard_error == pytest.approx(np.std(weights, ddof=1) / 3**0.5, abs=1e-6)
        assert edge.count == sum(w != 0 for w in weights)


def moved(node: Any, length: int) -> Any:
    """A node of the aligned graph, whose positions count from the end, in the graph of one pair."""
    if isinstance(node, MetricNode):
        return node
    label = int(whole().circuit.positions[node.position].label)
    return replace(node, position=length + label)


def test_a_verified_estimate_screens_and_the_circuit_is_still_exact() -> None:
    full = exact_patching(world().spliced, PAIRS, logit_difference, error_mode="frozen")
    few = found(method="chord-ig", verify=len(full) // 3, select=Selection(nodes=12), compare=("chord-ig",))
    assert few.verdict is not None
    assert few.checked is not None
    assert few.checked.estimate_name == few.verdict.estimate_name == few.circuit.measurement.flags_of
    assert few.circuit.measurement.evidence.startswith("screened by chord IG")
    truth = {w.node: w.effect for w in rank_nodes(full, PAIRS, world().model).nodes}
    assert len(few.circuit.strongest()) > 5
    for weighted in few.circuit.strongest():
        assert weighted.verified == weighted.count
        assert weighted.effect == pytest.approx(truth[weighted.node], abs=1e-9)
    certificate = few.circuit.certificate
    assert certificate is not None
    assert certificate.screening is not None
    assert certificate.screening.verified < certificate.screening.nodes == len(full)
    assert certificate.screening.bound is not None
    flagged = sum(sum(w.flags.values()) for w in few.circuit.strongest())
    assert flagged <= sum(certificate.screening.flags.values())


@cache
def checked_run() -> Found:
    """The nodes that 30 by chord IG leave, IG checked on them, its worst errors explained."""
    return found(select=Selection(nodes=30), compare=("ig",), rank_by="chord-ig", explained=3)


def test_where_every_node_was_patched_ig_is_checked_and_its_flags_stand_at_the_nodes() -> None:
    run = checked_run()
    assert run.verdict is None
    assert run.circuit.certificate is not None
    assert run.circuit.certificate.screening is None
    assert run.checked is not None
    assert (run.checked.method, run.checked.verified) == ("integrated_gradients", len(run.effects))
    np.testing.assert_allclose(np.sort(run.checked.exact), np.sort(run.effects.effect))
    assert run.circuit.measurement.flags_of == run.checked.estimate_name
    at_nodes = {run.circuit.name(w.node): sum(w.flags.values()) for w in run.circuit.strongest() if w.flags}
    assert at_nodes == {name: len(own) for name, own in findings(run.circuit, run.checked).items()}
    assert at_nodes


def test_the_worst_nodes_of_the_circuit_are_explained_each_in_its_worst_example() -> None:
    run = checked_run()
    assert run.checked is not None
    of_circuit = findings(run.circuit, run.checked)
    worst = sorted((own[0].verdict for own in of_circuit.values()), key=lambda v: -abs(v.error))
    assert len(worst) > 3
    assert {(t.node, t.example) for t in run.checked.traces} == {(v.node, v.example) for v in worst[:3]}
    for explained in worst[:3]:
        assert explained.parts is not None
        assert sum(explained.parts.values()) == pytest.approx(explained.error, abs=2e-3 * abs(explained.exact) + 1e-6)
    assert worst[3].parts is None
    for own in of_circuit.values():
        for finding in own:
            if finding.trace is not None:
                jumped = finding.trace.metric[-1] - finding.trace.metric[0]
                assert jumped == pytest.approx(finding.verdict.exact, abs=1e-5)


def test_no_check_without_ig_or_without_exact_effects() -> None:
    assert whole().checked is None
    assert whole().circuit.measurement.flags_of is None
    assert found(method="atp", select=Selection(nodes=12), compare=("ig",)).checked is None


def test_a_certificate_has_the_curve_of_the_ranking_with_the_circuits_size_on_it() -> None:
    run = checked_run()
    assert run.circuit.certificate is not None
    (curve,), (own,) = run.circuit.certificate.curves, run.circuit.certificate.faithfulness
    assert (curve.split, curve.ranking) == ("own", "chord-ig")
    assert own.nodes in curve.sizes
    assert (curve.shares[-1], curve.faithfulness[-1]) == (1.0, 1.0)
    if run.circuit.measurement.pruned == 0:
        assert curve.faithfulness[curve.sizes.index(own.nodes)] == pytest.approx(own.faithfulness)


def test_an_estimate_is_not_verified_unasked() -> None:
    estimate = found(method="atp", select=Selection(nodes=12))
    assert estimate.circuit.measurement.evidence.startswith("not verified")
    assert {w.verified for w in estimate.circuit.strongest()} == {0}
    assert estimate.circuit.certificate is not None
    assert estimate.circuit.certificate.circuit_verified == 0


def test_the_ranking_may_be_another_methods_than_the_effects() -> None:
    by_chord = found(select=Selection(nodes=10), rank_by="chord-ig", compare=())
    chords = chord_integrated_gradients(world().spliced, PAIRS, logit_difference, points=gauss_legendre(10))
    first = {w.node for w in rank_nodes(chords, PAIRS, world().model).nodes[:10]}
    assert {w.node for w in by_chord.circuit.strongest()} <= first
    assert len(by_chord.circuit.strongest()) + by_chord.circuit.measurement.pruned == 10
    assert by_chord.circuit.measurement.ranked_by == "chord-ig"
    assert by_chord.circuit.measurement.method == "exact_patching"


def test_without_a_patch_prompt_edges_are_plain_gradients() -> None:
    ablated = found(patch_value=zero, select=Selection(nodes=20), rank_by="chord-ig", compare=("atp", "chord-ig"))
    assert ablated.circuit.measurement.edge_method == "plain gradient"
    assert ablated.circuit.measurement.edge_imbalance is None
    assert {name for w in ablated.circuit.strongest() for name in w.estimates} == {"atp"}
    assert not any(isinstance(w.node, TokenNode) for w in ablated.circuit.nodes)
    assert any(isinstance(w.node, ErrorNode) for w in ablated.circuit.nodes)


def test_selection_rules() -> None:
    ranking = whole().ranking
    sizes = np.array([abs(w.effect) for w in ranking.nodes])
    question: Any = None  # only faithfulness asks one
    assert len(Selection(nodes=7).of(ranking, question).nodes) == 7
    assert len(Selection(threshold=sizes[9]).of(ranking, question).nodes) == 10
    half = Selection(share=0.5).of(ranking, question).nodes
    assert sizes[: len(half)].sum() >= 0.5 * sizes.sum() > sizes[: len(half) - 1].sum()
    assert len(Selection(share=1.0).of(ranking, question).nodes) == (sizes > 0).sum()
    with pytest.raises(ValueError, match="No node reaches the threshold 1000"):
        Selection(threshold=1000.0).of(ranking, question)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of"),
        ({"nodes": 3, "share": 0.5}, "exactly one of"),
        ({"nodes": 0}, "at least 1 node"),
        ({"threshold": 0.0}, "must be positive"),
        ({"share": 1.5}, "at most 1"),
        ({"faithful": 0.0}, "must be positive"),
    ],
)
def test_a_selection_that_makes_no_sense_is_an_error(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Selection(**arguments)


def test_enough_nodes_to_be_faithful() -> None:
    one = found(select=Selection(faithful=0.5), rank_by="chord-ig", error_mode="live")
    assert one.circuit.certificate is not None
    own = next(f for f in one.circuit.certificate.faithfulness if f.split == "own")
    assert own.faithfulness >= 0.5 or one.circuit.measurement.pruned > 0
    assert 1 < len(one.circuit.strongest()) < len(whole().ranking.nodes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "igg"}, "No method 'igg'"),
        ({"compare": ("chord",)}, "No method 'chord'"),
        ({"method": "chord-ig", "verify": 0}, "At least 1 node"),
        ({"verify": 5}, "exact leaves nothing to verify"),
        ({"method": "auto", "budget": 0.0}, "positive number of seconds"),
        ({"least_edge": -1.0}, "0 or more"),
        ({"explained": -1}, "0 or more; got -1"),
        ({"method": "atp", "error_mode": "path"}, "cannot be measured in error mode 'path'"),
        ({"method": "atp", "points": gauss_legendre(3)}, "has no path"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_measured(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        found(**options)


def test_a_flat_metric_without_a_patch_prompt_has_no_edges() -> None:
    with pytest.raises(ValueError, match="no edges without a patch prompt"):
        discover(world().spliced, PAIRS, kl_divergence, patch_value=zero)


def test_exact_effects_take_the_place_of_estimates_and_of_nothing_else() -> None:
    estimate = whole().effects
    start = MeasuredNodes(replace(estimate, effect=np.zeros(len(estimate))), np.zeros(len(estimate), bool), None)
    keys = estimate.keys()[::3]
    shuffled = np.random.default_rng(0).permutation(len(keys))
    after = with_exact(start, np.append(keys[shuffled], 7), np.append(estimate.effect[::3][shuffled], 99.0))
    expected = np.zeros(len(estimate))
    expected[::3] = estimate.effect[::3]
    np.testing.assert_array_equal(after.effects.effect, expected)
    np.testing.assert_array_equal(np.flatnonzero(after.exact), np.arange(0, len(estimate), 3))


def test_equal_prompts_have_no_circuit() -> None:
    same = PromptPairs((replace(PAIRS[0], patch_ids=PAIRS[0].clean_ids),))
    with pytest.raises(ValueError, match="differ"):
        discover(world().spliced, same, logit_difference)


def test_nodes_of_which_none_leads_to_the_metric_are_shown_as_they_were_chosen() -> None:
    """In the first pair the strongest node is an MLP's error, and a residual site lies between it and the metric."""
    pairs = PromptPairs(PAIRS.pairs[:1])
    options: dict[str, Any] = {"error_mode": "live", "select": Selection(nodes=1), "compare": (), "least_edge": 0.0}
    one = discover(world().spliced, pairs, logit_difference, positions="offset", **options)
    assert [w.node for w in one.circuit.strongest()] == [ErrorNode("blocks.0.hook_mlp_out", 3)]
    assert one.circuit.edges == ()
    assert one.circuit.measurement.pruned == 0


@pytest.mark.parametrize("error_mode", ["frozen", "zero"])
@pytest.mark.parametrize(
    "options",
    [
        {"method": "chord-ig", "verify": 5},
        {"method": "ig", "verify": 5, "compare": ("chord-ig",)},
        {"method": "exact", "compare": ("ig", "chord-ig")},
        {"method": "exact", "compare": ("ig",)},
    ],
    ids=["screened", "screened by IG", "exact", "exact, IG alone"],
)
def test_chord_ig_is_swept_once_though_the_checker_needs_its_parts(
    options: dict[str, Any], error_mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[int] = []

    def counted(ends: Any, *arguments: Any) -> Any:
        swept.extend(ends.rows.tolist())
        return run_sweep(ends, *arguments)

    monkeypatch.setattr(chord_module, "run_sweep", counted)
    result = found(**options, error_mode=error_mode)
    assert len(swept) == len(PAIRS)
    assert (result.verdict or result.checked) is not None


@pytest.mark.parametrize("error_mode", ["path", "zero"])
def test_the_parts_of_chord_ig_are_swept_along_without_a_change_of_its_effects(error_mode: Any) -> None:
    given = world().spliced, PAIRS, logit_difference
    alone, along = (chord_attribution(*given, error_mode=error_mode, split=split).effects for split in (False, True))
    assert np.array_equal(alone.keys(), along.keys())
    assert np.array_equal(alone.effect, along.effect)

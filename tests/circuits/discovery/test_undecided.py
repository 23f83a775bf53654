"""An effect that rounding decides is in no ranking and no verdict, but in the circuit's file, tables and page."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from attribution.checking.check import check
from attribution.effects.effects import GATES, Effects
from attribution.effects.undecided_effects import effects_in_rounding, undecided_effects
from attribution.methods.attribution_patching import attribution_patching
from attribution.methods.exact_patching import exact_patching
from attribution.prompts.metrics import logit_difference
from circuits.ablation.causal_test import causal_test
from circuits.discovery.discover import Found, discover
from circuits.discovery.measuring import MeasuredNodes, with_undecided
from circuits.discovery.selection import Selection
from circuits.ranking.aggregate import effects_by_pair, rank_nodes
from circuits.ranking.dataset import rank
from circuits.ranking.ranking_file import read_ranking, write_ranking
from graphs import CircuitGraph, load_circuit, load_verdict, save_circuit, save_verdict, write_dot, write_neuronpedia
from graphs.files.graphml import read_graphml, write_graphml
from graphs.files.tables import read_tables, write_tables
from graphs.merged_positions import merge_positions
from graphs.page.circuit_columns import node_columns
from graphs.words.certificate_words import certificate_lines
from graphs.words.verdict_words import key_numbers
from tests.attribution.cones.test_decided_in_float64 import PAIRS, planted


@cache
def effects() -> Effects:
    """With a planted gate, so that some effects are undecided."""
    return exact_patching(planted("frozen").spliced(0), PAIRS, logit_difference, error_mode="frozen")


@cache
def found() -> Found:
    spliced = planted("frozen").spliced(0)
    return discover(
        spliced,
        PAIRS,
        error_mode="frozen",
        select=Selection(nodes=40),
        positions="offset",
        compare=("ig",),
        resamples=0,
    )


def test_a_node_is_ranked_by_its_decided_effects_alone() -> None:
    spliced = planted("frozen").spliced(0)
    ranking = rank_nodes(effects(), PAIRS, spliced.model)
    doubled = replace(effects(), effect=np.where(effects().undecided, 1e6, effects().effect))
    assert [w.node for w in rank_nodes(doubled, PAIRS, spliced.model).nodes] == [w.node for w in ranking.nodes]
    marked = [w for w in (*ranking.nodes, *ranking.undecided) if w.undecided]
    assert sum(w.undecided for w in marked) == effects().undecided.sum() > 0
    for weighted in marked:
        assert weighted.closed_effect is not None
        assert weighted.open_effect is not None
        assert abs(weighted.closed_effect - weighted.open_effect) > 1e-6
    assert all(w.undecided == w.count for w in ranking.undecided)
    assert not {w.node for w in ranking.undecided} & {w.node for w in ranking.nodes}
    by_pair = effects_by_pair(effects(), PAIRS, spliced.model, [w.node for w in marked])
    np.testing.assert_allclose(by_pair.mean(0), [w.effect for w in marked])


def test_a_stream_leaves_undecided_effects_out_and_counts_them(tmp_path: Path) -> None:
    spliced = planted("frozen").spliced(0)
    ranked = rank(
        PAIRS, spliced.model, lambda few: exact_patching(spliced, few, logit_difference, error_mode="frozen"), at_once=1
    )
    assert ranked.undecided == effects().undecided.sum()
    write_ranking(ranked, tmp_path / "ranking.parquet")
    assert read_ranking(tmp_path / "ranking.parquet").undecided == ranked.undecided


def test_a_verdict_compares_no_undecided_node_and_lists_both_values(tmp_path: Path) -> None:
    spliced = planted("frozen").spliced(0)
    estimate = attribution_patching(spliced, PAIRS, logit_difference, error_mode="frozen")
    verdict = check(spliced, PAIRS, logit_difference, estimate, explained=0)
    marked = effects().undecided
    assert len(verdict.undecided) == marked.sum()
    assert verdict.verified == verdict.overall.nodes == (~marked).sum()
    assert sorted(u.closed for u in verdict.undecided) == pytest.approx(sorted(effects().effect[marked]))
    assert "undecided nodes" in [number.label for number in key_numbers(verdict)]
    save_verdict(verdict, tmp_path / "verdict.json")
    assert load_verdict(tmp_path / "verdict.json").undecided == verdict.undecided
    none = np.zeros(len(estimate), bool)
    measured = with_undecided(MeasuredNodes(estimate, none, verdict, estimate), verdict)
    assert measured.effects.undecided.sum() == measured.exact.sum() == marked.sum()
    opened = measured.effects.open_effect[measured.exact]
    np.testing.assert_allclose(np.sort(opened), np.sort(effects().open_effect[marked]))


def test_the_certificate_counts_them_and_confirms_faithfulness_in_float64() -> None:
    circuit = found().circuit
    assert circuit.certificate is not None
    counted = circuit.certificate.rounding
    assert counted == effects_in_rounding(found().effects)
    assert counted is not None
    assert counted.undecided == found().effects.undecided.sum() > 0
    assert counted.repeated == (found().effects.gates != GATES.index("clear")).sum()
    apart = [abs(u.closed - u.opened) for u in undecided_effects(found().effects)]
    assert apart == sorted(apart, reverse=True)
    assert len(circuit.certificate.confirmed) == len(circuit.certificate.faithfulness) > 0
    assert circuit.certificate.rounding_of_faithfulness is not None
    lines = {line.name: line for line in certificate_lines(circuit)}
    assert "undecided" in lines["effects within rounding"].value
    assert "confirmed in float64" in lines
    left = replace(circuit.certificate, rounding=replace(counted, near=1234))
    lines = {line.name: line for line in certificate_lines(replace(circuit, certificate=left))}
    assert lines["effects within rounding"].value.endswith("1,234 not measured again")
    assert "1,234 weaker ones may be off by what a gate adds" in lines["effects within rounding"].reading


def test_every_format_keeps_both_values(tmp_path: Path) -> None:
    circuit = with_an_undecided_node()
    save_circuit(circuit, tmp_path / "circuit.json")
    write_graphml(circuit, tmp_path / "circuit.graphml")
    write_tables(circuit, tmp_path / "tables")
    for read in (
        load_circuit(tmp_path / "circuit.json"),
        read_graphml(tmp_path / "circuit.graphml"),
        read_tables(tmp_path / "tables"),
        CircuitGraph.from_networkx(circuit.to_networkx()),
    ):
        assert read.nodes == circuit.nodes
        assert read.certificate == circuit.certificate
    columns = node_columns(circuit)
    assert columns["undecided"].sum() == 1
    np.testing.assert_allclose(np.sort(columns["closed_effect"])[0], -0.5)
    write_dot(circuit, tmp_path / "circuit.dot")
    write_neuronpedia(circuit, tmp_path / "graph.json", slug="one", scan="model")
    for name in ("circuit.dot", "graph.json"):
        assert "undecided in 1 (-0.5 or +0.25)" in (tmp_path / name).read_text(encoding="utf-8")
    merged = merge_positions(circuit)
    assert sum(w.undecided for w in merged.nodes) == 1


def with_an_undecided_node() -> CircuitGraph:
    circuit = found().circuit
    node, *others = circuit.nodes
    return replace(circuit, nodes=(replace(node, undecided=1, closed_effect=-0.5, open_effect=0.25), *others))


def test_the_causal_test_is_confirmed_in_float64() -> None:
    test = causal_test(planted("frozen").spliced(50), PAIRS, logit_difference, found().circuit)
    assert test.rounding is not None
    assert 0 < test.rounding < 1e-4

"""Overlaps by hand, circuits combined by hand, and files that give back what was written."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from graphs import (
    CircuitGraph,
    Comparison,
    Edge,
    FeatureNode,
    Position,
    load_comparison,
    save_comparison,
    write_comparison_tables,
)
from graphs.combined import combined, refuse_other_effects
from graphs.comparison import ComparedEdge, ComparedNode, Overlap, TaskFaithfulness
from graphs.faithfulness import Faithfulness
from graphs.words.comparison_words import comparison_headline, faithfulness_rows, twin_in_words
from tests.graphs.page.page_circuits import ALONE, EDGES, LATER, METRIC, MIDDLE, MLP, NOUN, small_circuit


def measured(faithfulness: float) -> Faithfulness:
    means = {"m_full": 1.0, "m_empty": 0.0, "m_circuit": faithfulness, "m_rest": 0.0}
    bounds = {"low": faithfulness - 0.1, "high": faithfulness + 0.1}
    none = {"completeness": 0.0, "completeness_low": None, "completeness_high": None}
    about = {"reference": "counterfactual", "errors": "nodes", "metric": "m", "unit": "logits"}
    counts = {"pairs": 3, "nodes": 2, "confidence": 0.95, "resamples": 10}
    given = {"split": "b", "faithfulness": faithfulness, **means, **bounds, **none, **about, **counts}
    return Faithfulness.from_dict(given)


def a_comparison() -> Comparison:
    nodes = (
        ComparedNode("s/1@end", "s/4@end", "feature", "s", "end", 1.0, 0.5, "s/4", 0.9, 0.8),
        ComparedNode("s/2@end", None, "feature", "s", "end", -1.0, None, "s/7", 0.75, 0.8),
        ComparedNode(None, "s/error@end", "error", "s", "end", None, 0.25),
    )
    edges = (ComparedEdge(("s/1@end", "metric/m"), None, 0.5, None), ComparedEdge(None, ("x", "y"), None, 0.5))
    return Comparison(
        names=("one", "two"),
        metrics=("m", "m"),
        units=("logits", "logits"),
        nodes=nodes,
        edges=edges,
        node_overlap=Overlap.of((n.effect_a, n.effect_b) for n in nodes),
        edge_overlap=Overlap.of((e.weight_a, e.weight_b) for e in edges),
        spearman=None,
        same_sign=1.0,
        faithfulness=(TaskFaithfulness("a", "a", "b", measured(0.5)), TaskFaithfulness("b", "a", "a", measured(0.7))),
        other_saes=("s",),
        least_cosine=0.7,
        least_correlation=0.7,
        notes=("a note",),
        missing={"F": "no pairs"},
    )


def test_overlaps_are_what_the_formulas_give_by_hand() -> None:
    found = Overlap.of([(3.0, -1.0), (-1.0, None), (None, 2.0), (0.0, 1.0)])
    assert (found.shared, found.only_a, found.only_b, found.jaccard) == (2, 1, 1, 0.5)
    smaller, larger = 0.25 + 0 + 0 + 0, 0.75 + 0.25 + 0.5 + 0.25  # shares 3/4, 1/4, 0, 0 against 1/4, 0, 1/2, 1/4
    assert found.weighted_jaccard == pytest.approx(smaller / larger)
    assert Overlap.of([(2.0, 8.0), (1.0, 4.0)]).weighted_jaccard == pytest.approx(1.0), "shares, not sizes, count"
    assert Overlap.of([(1.0, None), (None, 1.0)]).weighted_jaccard == 0.0


def test_what_is_undefined_is_none() -> None:
    assert Overlap.of([]) == Overlap(0, 0, 0, None, None)
    assert Overlap.of([(0.0, 1.0)]).weighted_jaccard is None
    assert Overlap.of([(1.0, 1.0)], weighted=False).weighted_jaccard is None


def test_words_say_what_is_shared_what_matches_and_in_which_model_f_was_measured() -> None:
    found = a_comparison()
    assert comparison_headline(found) == "1 node is in both circuits: 50% of the 2 of one, 50% of the 2 of two."
    words = [twin_in_words(found, node) for node in found.nodes]
    assert words == [
        "matches s/4 of two (cosine 0.90, correlation 0.80)",
        "matches s/7 of two, which the circuit lacks (cosine 0.75, correlation 0.80)",
        None,
    ]
    assert faithfulness_rows(found) == [
        ("two, 3 pairs", "one", "0.50 [0.40, 0.60]", "0.00"),
        ("one, 3 pairs", "two in the model of one", "0.70 [0.60, 0.80]", "0.00"),
    ]


def test_json_gives_back_the_same_comparison_and_refuses_a_damaged_one(tmp_path: Path) -> None:
    found, path = a_comparison(), tmp_path / "comparison.json"
    save_comparison(found, path)
    assert load_comparison(path) == found
    path.write_text(path.read_text().replace('"spearman"', '"spearmen"'))
    with pytest.raises(ValueError, match=r"comparison\.json: a Comparison lacks spearman"):
        load_comparison(path)


def test_tables_have_a_row_for_each_node_and_edge(tmp_path: Path) -> None:
    write_comparison_tables(a_comparison(), tmp_path)
    nodes, edges = (pq.read_table(tmp_path / f"comparison_{name}.parquet").to_pylist() for name in ("nodes", "edges"))
    assert [row["in"] for row in nodes] == ["both", "a", "b"]
    assert (nodes[0]["a"], nodes[0]["b"], nodes[0]["effect_b"], nodes[0]["cosine"]) == ("s/1@end", "s/4@end", 0.5, 0.9)
    assert [(row["in"], row["source_a"], row["target_b"]) for row in edges] == [
        ("a", "s/1@end", None),
        ("b", None, "y"),
    ]


def other_circuit() -> CircuitGraph:
    """The small circuit without ALONE, with doubled effects and weights, on three times as many examples."""
    small = small_circuit(examples=12)
    return replace(
        small,
        nodes=tuple(replace(w, effect=2 * w.effect) for w in small.nodes if w.node != ALONE),
        edges=tuple(replace(e, weight=2 * e.weight) for e in small.edges if ALONE not in (e.source, e.target)),
    )


def test_a_union_has_means_by_examples_and_an_intersection_what_all_have() -> None:
    union = combined([small_circuit(), other_circuit()], every=False, what="union of 2 circuits")
    both = combined([small_circuit(), other_circuit()], every=True, what="intersection of 2 circuits")
    effects = {w.node: w.effect for w in union.nodes}
    assert effects[NOUN] == pytest.approx((4 * 0.8 + 12 * 1.6) / 16)
    assert effects[ALONE] == 0.3
    weights = {(e.source, e.target): e.weight for e in union.edges}
    assert weights[NOUN, MIDDLE] == pytest.approx((4 * 0.25 + 12 * 0.5) / 16)
    assert weights[ALONE, METRIC] == 1 / 3
    assert {w.node for w in union.nodes} - {w.node for w in both.nodes} == {ALONE}
    assert len(both.edges) == len(EDGES) - 1
    noun = next(w for w in union.nodes if w.node == NOUN)
    assert (noun.standard_error, noun.count, noun.verified) == (None, 8, 8)
    assert noun.estimates == {"ig": pytest.approx(0.75), "atp": pytest.approx(0.7)}
    assert (union.measurement.examples, union.certificate) == (16, None)


def test_columns_are_joined_by_name_in_an_order_that_every_edge_goes_along() -> None:
    small = small_circuit()
    turned = small_circuit((Position("verb", " sits", " sits"), Position("noun", " dog", " dogs")))
    alone = replace(turned, edges=())
    union = combined([small, alone], every=False, what="union")
    assert [p.label for p in union.positions] == ["noun", "verb"]
    assert union.positions[0].clean_token == "various"
    assert FeatureNode(MLP, 1, 7) in {w.node for w in union.nodes}, "the first column of the second is `verb`"
    assert not union.measurement.positions_vary
    both_ways = combined([small, turned], every=False, what="union")
    assert both_ways.measurement.positions_vary
    with pytest.raises(ValueError, match="sites of the circuits are in no common order: "):
        combined([small, replace(alone, sites=alone.sites[::-1])], every=False, what="union")


def test_circuits_whose_effects_have_no_mean_are_refused() -> None:
    with pytest.raises(ValueError, match=r"different values of unit: logits, nats\. Their effects have no mean"):
        refuse_other_effects([small_circuit(), small_circuit(unit="nats")])


def test_an_edge_of_one_circuit_keeps_its_standard_error() -> None:
    union = combined([small_circuit(), replace(other_circuit(), edges=())], every=False, what="union")
    assert Edge(LATER, METRIC, 0.75, 0.75, 0.03, 4) in union.edges

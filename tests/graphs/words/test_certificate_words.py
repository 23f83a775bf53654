"""A certificate: the same after JSON, and every colour by its stated rule."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graphs import (
    Certificate,
    CertificateLine,
    CircuitGraph,
    Faithfulness,
    MissedBound,
    SAEQuality,
    Screening,
    SiteQuality,
    certificate_lines,
    load_circuit,
    save_circuit,
)
from graphs.certificate import SizeChoice
from graphs.words.certificate_words import worst_of
from tests.graphs.test_circuit_graph import CIRCUIT
from tests.graphs.test_faithfulness import curve


def faithful(split: str, value: float, rest: float = 0.0) -> Faithfulness:
    """m(M) = 2 and m(∅) = 1, so that F is m − 1."""
    return Faithfulness(
        split=split,
        pairs=10,
        nodes=5,
        reference="counterfactual",
        errors="nodes",
        metric="logit_difference",
        unit="logits",
        m_full=2.0,
        m_empty=1.0,
        m_circuit=1 + value,
        m_rest=1 + rest,
        faithfulness=value,
        low=value - 0.1,
        high=value + 0.1,
        completeness=rest,
        completeness_low=None,
        completeness_high=None,
        confidence=0.95,
        resamples=100,
    )


SITE = SiteQuality("blocks.0.hook_mlp_out", 17.5, 0.01, 0.97, 0.02, 0.01)
SITES = (SITE, replace(SITE, site="blocks.0.hook_resid_post", ce_recovered=None))
QUALITY = SAEQuality("general text", 1234, SITES, 0.9, 0.1, 0.2)
CERTIFICATE = Certificate(
    hashes={"model": "m" * 64, "saes": {"blocks.0.hook_mlp_out": "s" * 64}, "prompts": "p" * 64},
    circuit_verified=1.0,
    error_share=0.1,
    flow_shown=0.8,
    screening=Screening("chord IG (10 points)", 500, 4000, 0.1, {"missed": 3}, MissedBound(0.95, 100, 0, 3500, 102)),
    quality=(QUALITY,),
    faithfulness=(faithful("own", 0.9), faithful("held_out", 0.6, 0.4)),
    curves=(curve(), curve(split="own")),
    missing={"other prompts": "none were given"},
)


def test_a_circuit_file_without_curves_has_none(tmp_path: Path) -> None:
    save_circuit(replace(CIRCUIT, certificate=CERTIFICATE), tmp_path / "c.json")
    content = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    del content["certificate"]["curves"], content["measurement"]["flags_of"]
    (tmp_path / "c.json").write_text(json.dumps(content), encoding="utf-8")
    loaded = load_circuit(tmp_path / "c.json")
    assert loaded == replace(CIRCUIT, certificate=replace(CERTIFICATE, curves=()))


def lines(**changes: Any) -> dict[str, CertificateLine]:
    circuit = replace(CIRCUIT, certificate=replace(CERTIFICATE, **changes))
    return {line.name: line for line in certificate_lines(circuit)}


def test_json_and_back_is_the_same_certificate(tmp_path: Path) -> None:
    circuit = replace(CIRCUIT, certificate=CERTIFICATE)
    save_circuit(circuit, tmp_path / "c.json")
    assert load_circuit(tmp_path / "c.json") == circuit
    assert CircuitGraph.from_networkx(circuit.to_networkx()) == circuit


def test_gates_at_their_threshold_have_a_line_where_there_are_any_and_an_older_file_has_none(tmp_path: Path) -> None:
    assert "gates at their threshold" not in lines()
    assert lines(gates_at_threshold=3)["gates at their threshold"].value == "3"
    counted = replace(CIRCUIT, certificate=replace(CERTIFICATE, gates_at_threshold=3))
    save_circuit(counted, tmp_path / "c.json")
    assert load_circuit(tmp_path / "c.json") == counted
    content = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    del content["certificate"]["gates_at_threshold"]
    (tmp_path / "c.json").write_text(json.dumps(content), encoding="utf-8")
    assert load_circuit(tmp_path / "c.json") == replace(CIRCUIT, certificate=CERTIFICATE)


@pytest.mark.parametrize(
    ("changes", "line", "colour"),
    [
        ({}, "faithfulness, training", "green"),
        ({}, "faithfulness, held out", "amber"),
        ({"faithfulness": (faithful("own", 0.3),)}, "faithfulness, training", "red"),
        ({"faithfulness": (faithful("own", 1.4),)}, "faithfulness, training", "amber"),
        ({}, "completeness, training", "green"),
        ({}, "completeness, held out", "amber"),
        ({}, "node effects", "green"),
        ({"circuit_verified": 0.99}, "node effects", "amber"),
        ({"circuit_verified": 0.0}, "node effects", "red"),
        ({}, "carried by SAE errors", "green"),
        ({"error_share": 0.4}, "carried by SAE errors", "amber"),
        ({"error_share": 0.6}, "carried by SAE errors", "red"),
        ({}, "screening", "green"),
        ({}, "missed nodes", "amber"),
        ({}, "SAEs on general text", "amber"),
        ({"quality": (replace(QUALITY, ce_recovered=0.5),)}, "SAEs on general text", "red"),
        ({"quality": (replace(QUALITY, ce_recovered=None),)}, "SAEs on general text", "grey"),
        ({}, "other prompts", "amber"),
        ({}, "inputs", "grey"),
    ],
)
def test_colours_follow_their_rules(changes: dict[str, object], line: str, colour: str) -> None:
    found = lines(**changes)[line]
    assert found.colour == colour
    assert found.rule
    assert found.reading.endswith(".")


def test_the_whole_has_the_colour_of_its_worst_line() -> None:
    assert worst_of(tuple(lines().values())) == "amber"
    assert worst_of(tuple(lines(circuit_verified=0.0).values())) == "red"
    assert worst_of(()) == "grey"


def test_a_circuit_without_a_certificate_has_no_lines() -> None:
    assert certificate_lines(CIRCUIT) == ()


def test_plain_gradient_edges_are_amber_and_chord_edges_by_their_balance() -> None:
    for method, imbalance, colour in (
        ("plain gradient", None, "amber"),
        ("chord flow", 1e-5, "green"),
        ("chord flow", 0.1, "red"),
    ):
        measured = replace(CIRCUIT.measurement, edge_method=method, edge_imbalance=imbalance)
        circuit = replace(CIRCUIT, measurement=measured, certificate=CERTIFICATE)
        assert {line.name: line.colour for line in certificate_lines(circuit)}["edges"] == colour


CHOICE = SizeChoice(
    by="iterated mask path",
    split="validation",
    pairs=25,
    target=0.8,
    faithfulness=0.86,
    nodes=70,
    most=1000,
    reached=True,
    largest=9000,
    largest_faithfulness=1.0,
    needed=64,
    new_words=True,
    opponents={"blocks.0.hook_mlp_out/error@end": 0.07},
)


def test_a_certificate_says_who_chose_the_size_and_what_was_left_out(tmp_path: Path) -> None:
    found = lines(size_choice=CHOICE)
    assert (found["size"].value, found["size"].colour) == ("70 of 9,000 features and errors", "green")
    assert (
        "F = 0.86 before pruning, on 25 pairs with other words, which did not find the circuit; 0.80"
        in found["size"].reading
    )
    assert "blocks.0.hook_mlp_out/error@end (+0.07)" in found["opponents left out"].reading
    assert "size" not in lines()
    circuit = replace(CIRCUIT, certificate=replace(CERTIFICATE, size_choice=CHOICE))
    save_circuit(circuit, tmp_path / "c.json")
    assert load_circuit(tmp_path / "c.json") == circuit


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"needed": 1445}, "About 1,445 of them reach it; at most 1,000 were allowed."),
        ({"largest_faithfulness": 0.41}, "No set can: all 9,000 reach 0.41."),
        ({"needed": 64}, "No set of the search reaches it with one standard error to spare."),
    ],
)
def test_a_missed_target_says_in_a_sentence_what_would_reach_it(changes: dict[str, Any], sentence: str) -> None:
    line = lines(size_choice=replace(CHOICE, reached=False, faithfulness=0.5, **changes))["size"]
    assert sentence in line.reading
    assert line.colour == "amber"


def test_a_size_that_its_own_pairs_chose_is_not_green() -> None:
    line = lines(size_choice=replace(CHOICE, split="own"))["size"]
    assert line.colour == "amber"
    assert "the pairs that found the circuit" in line.reading

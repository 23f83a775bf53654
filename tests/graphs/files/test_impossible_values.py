"""Values of the right type that cannot be are refused wherever a file of ours has them, with their place."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graphs import (
    CircuitGraph,
    load_circuit,
    load_comparison,
    load_labels,
    load_verdict,
    read_graphml,
    save_circuit,
    save_comparison,
    save_labels,
    save_verdict,
    write_graphml,
)
from graphs.certificate import Screening, SizeChoice, Stability
from graphs.comparison import Comparison, Overlap
from graphs.files.index_json import load_index, save_index
from graphs.undecided import EffectsInRounding
from graphs.verdict import MissedBound
from tests.graphs.page.page_circuits import labels_saying, small_circuit
from tests.graphs.page.test_index_page import INDEX
from tests.graphs.words.test_certificate_words import CERTIFICATE
from tests.worlds.synthetic_verdicts import verdict

Place = tuple[str | int, ...]
OVERLAP = Overlap(shared=1, only_a=1, only_b=1, jaccard=0.5, weighted_jaccard=0.5)
CERTIFIED = replace(
    CERTIFICATE,
    screening=Screening("IG", 3, 9, 0.1, {"missed": 1}, MissedBound(0.95, 4, 1, 6, 2)),
    size_choice=SizeChoice("ranking", "own", 4, 0.8, 0.9, 3, 9, True, 9, 1.0, 3, False, {}),
    stability=(Stability("pairs", 10, 3, 2, 2, 1, 0.9, 0.8),),
    rounding=EffectsInRounding(repeated=2, undecided=1),
)


def circuit() -> CircuitGraph:
    return replace(small_circuit(), certificate=CERTIFIED)


def refused(file: Path, load: Callable[[Path], object], place: Place, value: Any, fault: str) -> None:
    """With `value` at `place` the file is refused with this fault; as it is, it is read."""
    load(file)
    content = json.loads(file.read_text(encoding="utf-8"))
    inside = content
    for key in place[:-1]:
        inside = inside[key]
    assert inside[place[-1]] != value
    inside[place[-1]] = value
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=fault) as refusal:
        load(file)
    assert str(file) in str(refusal.value)


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [
        (("nodes", 0, "count"), -1, r"is -1; expected"),
        (("nodes", 0, "mean_absolute"), -0.5, r"nodes\[0\].mean_absolute is -0.5; expected at least 0"),
        (("nodes", 0, "standard_error"), -0.5, r"nodes\[0\].standard_error is -0.5; expected at least 0"),
        (("nodes", 0, "verified"), 10**6, r"verified of .* is 1000000; expected at most its count"),
        (("nodes", 0, "undecided"), 10**6, r"undecided of .* is 1000000; expected at most its count"),
        (("nodes", 0, "flags"), {"missed": -1}, r"nodes\[0\].flags.missed is -1; expected at least 0"),
        (("nodes", 0, "inclusion"), 1.5, r"nodes\[0\].inclusion is 1.5; expected at most 1"),
        (("nodes", 0, "position"), -1, r"position of a \w+Node is -1; expected at least 0"),
        (("edges", 0, "count"), -1, r"edges\[0\].count is -1; expected at least 0"),
        (("edges", 0, "standard_error"), -1.0, r"edges\[0\].standard_error is -1.0; expected at least 0"),
        (("edges", 0, "inclusion_templates"), -0.1, r"inclusion_templates is -0.1; expected at least 0"),
        (("measurement", "examples"), -1, r"measurement.examples is -1; expected at least 0"),
        (("measurement", "share_kept"), 1.1, r"measurement.share_kept is 1.1; expected at most 1"),
        (("measurement", "residual_max"), -1.0, r"measurement.residual_max is -1.0; expected at least 0"),
        (("measurement", "from_layer"), -1, r"measurement.from_layer is -1; expected at least 0"),
        (("certificate", "circuit_verified"), 2.0, r"circuit_verified of a Certificate is 2.0; expected at most 1"),
        (("certificate", "error_share"), -0.1, r"error_share of a Certificate is -0.1; expected at least 0"),
        (("certificate", "gates_at_threshold"), -1, r"gates_at_threshold of a Certificate is -1; expected at least 0"),
        (("certificate", "quality", 0, "tokens"), -1, r"tokens of a SAEQuality is -1; expected at least 0"),
        (("certificate", "quality", 0, "sites", 0, "l0"), -1.0, r"l0 of a SiteQuality is -1.0; expected at least 0"),
        (("certificate", "quality", 0, "sites", 0, "fvu"), -1.0, r"fvu of a SiteQuality is -1.0; expected at least 0"),
        (("certificate", "faithfulness", 0, "pairs"), -1, r"pairs of a Faithfulness is -1; expected at least 0"),
        (("certificate", "faithfulness", 0, "nodes"), -1, r"nodes of a Faithfulness is -1; expected at least 0"),
        (("certificate", "faithfulness", 0, "confidence"), 95.0, r"confidence of a Faithfulness is 95.0; expected at"),
        (("certificate", "curves", 0, "draws"), 0, r"draws of a FaithfulnessCurve is 0; expected at least 1"),
        (("certificate", "curves", 0, "sizes", 0), -1, r"sizes\[0\] of a FaithfulnessCurve is -1; expected at least 0"),
        (("certificate", "curves", 0, "shares", 0), 0.99, r"Shares must rise"),
        (("certificate", "screening", "verified"), 10, r"Screening has verified 10, more than nodes 9"),
        (("certificate", "screening", "flags", "missed"), -1, r"flags.missed of a Screening is -1; expected at least"),
        (("certificate", "screening", "bound", "audited_large"), 5, r"audited_large 5, more than audited 4"),
        (("certificate", "screening", "bound", "most_large"), 7, r"most_large 7, more than unverified 6"),
        (("certificate", "size_choice", "nodes"), 10, r"SizeChoice has nodes 10, more than largest 9"),
        (("certificate", "stability", 0, "stable_nodes"), 4, r"stable_nodes 4, more than nodes 3"),
        (("certificate", "stability", 0, "overlap"), 1.5, r"overlap of a Stability is 1.5; expected at most 1"),
        (("certificate", "rounding", "undecided"), -1, r"undecided of an EffectsInRounding is -1; expected at least 0"),
    ],
)
def test_a_circuit(place: Place, value: Any, fault: str, tmp_path: Path) -> None:
    save_circuit(circuit(), tmp_path / "c.json")
    refused(tmp_path / "c.json", load_circuit, place, value, fault)


def test_a_circuit_in_graphml_is_checked_alike(tmp_path: Path) -> None:
    write_graphml(circuit(), tmp_path / "c.graphml")
    text = (tmp_path / "c.graphml").read_text(encoding="utf-8")
    assert '"circuit_verified": 1.0' in text.replace("&quot;", '"')
    changed = text.replace('"circuit_verified": 1.0', '"circuit_verified": 1.5')
    (tmp_path / "c.graphml").write_text(changed, encoding="utf-8")
    with pytest.raises(ValueError, match=r"circuit_verified of a Certificate is 1\.5; expected at most 1"):
        read_graphml(tmp_path / "c.graphml")


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [
        (("examples",), 2, r"total_effect is that of 4 examples; the verdict is about 2"),
        (("nodes",), 3, r"Verdict has verified 12, more than nodes 3"),
        (("threshold",), -0.1, r"threshold of a Verdict is -0.1; expected at least 0"),
        (("flips",), -1, r"flips of a Verdict is -1; expected at least 0"),
        (("columns", "example", 0), 4, r"a node lies in example 4; there are 4, from 0"),
        (("columns", "example", 0), -1, r"a node lies in example -1"),
        (("columns", "position", 0), 99, r"a node lies at position 99 of example \d, which has \d"),
        (("columns", "position", 0), -1, r"a node lies at position -1"),
        (("columns", "index", 0), -2, r"the index of a verified node is below -1"),
        (("flagged", 0, "example"), 4, r"a node lies in example 4"),
        (("flagged", 0, "node", "position"), 99, r"a node lies at position 99"),
        (("tokens",), [["a"]], r"tokens is that of 1 examples"),
        (("overall", "pearson"), 1.5, r"pearson of an Agreement is 1.5; expected at most 1"),
        (("overall", "top_overlap"), 1.5, r"top_overlap of an Agreement is 1.5; expected at most 1"),
        (("overall", "sign_flips"), 11, r"sign_flips 11, more than large"),
        (("overall", "flagged"), 13, r"flagged 13, more than nodes 12"),
        (("bound", "confidence"), 1.5, r"confidence of a MissedBound is 1.5; expected at most 1"),
        (("bound", "audited_large"), 101, r"audited_large 101, more than audited 100"),
        (("residuals", 0, "points", 0), 99, r"ResidualCurve has points that do not rise"),
        (("residuals", 0, "points"), [1], r"ResidualCurve has columns of different lengths: points 1, median 6"),
        (("residuals", 0, "largest", 0), -1.0, r"largest\[0\] of a ResidualCurve is -1.0; expected at least 0"),
        (("traces", 0, "alpha", 0), 2.0, r"alpha\[0\] of a PathTrace is 2.0; expected at most 1"),
        (("traces", 0, "alpha", 0), 0.9, r"PathTrace has alpha that do not rise"),
        (("traces", 0, "metric"), [], r"PathTrace has columns of different lengths"),
        (("traces", 0, "margins"), {"g": [1.0]}, r"another number of margins than of points"),
    ],
)
def test_a_verdict(place: Place, value: Any, fault: str, tmp_path: Path) -> None:
    save_verdict(verdict(nodes=12, wrong=4), tmp_path / "v.json")
    refused(tmp_path / "v.json", load_verdict, place, value, fault)


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [
        (("tokens",), -1, r"tokens of a Labels is -1; expected at least 0"),
        (("labels", 0, "index"), -1, r"labels\[0\].index is -1; expected at least 0"),
        (("labels", 0, "frequency"), 1.5, r"frequency of .* is 1.5; a share lies between 0 and 1"),
    ],
)
def test_labels(place: Place, value: Any, fault: str, tmp_path: Path) -> None:
    save_labels(labels_saying("a cat"), tmp_path / "l.json")
    refused(tmp_path / "l.json", load_labels, place, value, fault)


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [
        (("node_overlap", "only_a"), -1, r"only_a of an Overlap is -1; expected at least 0"),
        (("node_overlap", "jaccard"), 1.5, r"jaccard of an Overlap is 1.5; expected at most 1"),
        (("spearman",), -1.5, r"spearman of a Comparison is -1.5; expected at least -1"),
        (("same_sign",), 1.5, r"same_sign of a Comparison is 1.5; expected at most 1"),
        (("names",), ["a"], r"names\[1\] of a Comparison is missing"),
        (("names",), ["a", "b", "c"], r"names of a Comparison is \('a', 'b', 'c'\); expected a list with"),
    ],
)
def test_a_comparison(place: Place, value: Any, fault: str, tmp_path: Path) -> None:
    made = Comparison(("a", "b"), ("m", "m"), ("u", "u"), (), (), OVERLAP, OVERLAP, 0.5, 0.5)
    save_comparison(made, tmp_path / "c.json")
    refused(tmp_path / "c.json", load_comparison, place, value, fault)


@pytest.mark.parametrize("name", ["pair", "nodes", "edges"])
def test_an_index(name: str, tmp_path: Path) -> None:
    save_index(INDEX, tmp_path / "i.json")
    fault = f"{name} of an IndexedCircuit is -1; expected at least 0"
    refused(tmp_path / "i.json", load_index, ("circuits", 0, name), -1, fault)

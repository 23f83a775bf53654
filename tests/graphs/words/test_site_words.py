"""What a certificate says about sites: every faithfulness line names the boundary, and a trial names better sites."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from graphs import CertificateLine, CircuitGraph, certificate_lines, load_circuit, save_circuit, write_dot
from graphs.page.payload import payload
from graphs.site_trial import SitesTried, TrialOfSites
from graphs.words.circuit_words import headline
from tests.graphs.test_circuit_graph import CIRCUIT
from tests.graphs.words.test_certificate_words import CERTIFICATE, faithful

TRIAL = TrialOfSites(
    "validation",
    25,
    SitesTried("all", 8, 1000, 0.85, 0.6, 1.0),
    (SitesTried("attn_out", 4, 300, None, None, 0.0), SitesTried("resid_post", 4, 700, 0.92, 0.7, 1.0)),
)
BELOW_KEPT = replace(
    CIRCUIT,
    measurement=replace(CIRCUIT.measurement, from_layer=2),
    certificate=replace(CERTIFICATE, alone=(faithful("held_out", 0.25), faithful("own", 0.5)), trial=TRIAL),
)


def lines(circuit: CircuitGraph) -> dict[str, CertificateLine]:
    return {line.name: line for line in certificate_lines(circuit)}


def test_every_faithfulness_line_says_what_is_kept_and_both_numbers_are_there() -> None:
    found = lines(BELOW_KEPT)
    about = [line for name, line in found.items() if name.startswith(("faithfulness, ", "completeness, "))]
    assert len(about) == 4
    for line in about:
        assert line.name.endswith(", from layer 2")
        assert "and the layers below 2 kept as they are, the " in line.reading
    alone = found["the circuit alone"]
    assert alone.value == "F = 0.25"
    assert "layers below 2 at their counterfactual value too: 0.25 on held out, 0.50 on own" in alone.reading


def test_a_circuit_without_a_boundary_says_nothing_about_layers() -> None:
    assert "layers below" not in " ".join(
        line.reading for line in certificate_lines(replace(CIRCUIT, certificate=CERTIFICATE))
    )
    assert "layers below" not in headline(CIRCUIT)


def test_a_trial_names_better_sites_in_amber() -> None:
    line = lines(BELOW_KEPT)["sites"]
    assert (line.value, line.colour) == ("F = 0.85 of all nodes", "amber")
    assert "on 25 validation pairs: at all 8 sites F = 0.85 (features alone 0.60); at" in line.reading
    assert "attn_out F = undefined (features alone undefined, 0% of the effect passes)" in line.reading
    assert "--sites resid_post would let clearly more through" in line.reading


@pytest.mark.parametrize(
    ("faithfulness", "words"), [(0.86, "as much through with fewer nodes"), (0.5, "No kind alone lets as much through")]
)
def test_a_trial_without_better_sites_is_grey(faithfulness: float, words: str) -> None:
    kind = replace(TRIAL.kinds[1], faithfulness=faithfulness, features_alone=0.6)
    certificate = replace(CERTIFICATE, trial=replace(TRIAL, split="own", kinds=(kind,)))
    line = lines(replace(CIRCUIT, certificate=certificate))["sites"]
    assert line.colour == "grey"
    assert words in line.reading
    assert "on these pairs" in line.reading


def test_page_and_exports_name_the_boundary(tmp_path: Path) -> None:
    assert headline(BELOW_KEPT).endswith("; layers below 2 kept as they are")
    header, _ = payload(BELOW_KEPT, title="t", labels=None)
    assert header["measurement"]["from_layer"] == 2
    write_dot(BELOW_KEPT, tmp_path / "c.dot")
    assert "layers below 2 kept as they are" in (tmp_path / "c.dot").read_text(encoding="utf-8")


def test_json_and_back_is_the_same_and_an_older_file_has_neither(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    save_circuit(BELOW_KEPT, file)
    assert load_circuit(file) == BELOW_KEPT
    assert CircuitGraph.from_networkx(BELOW_KEPT.to_networkx()) == BELOW_KEPT
    save_circuit(replace(CIRCUIT, certificate=CERTIFICATE), file)
    content = json.loads(file.read_text(encoding="utf-8"))
    for name in ("alone", "trial"):
        del content["certificate"][name]
    del content["measurement"]["from_layer"]
    file.write_text(json.dumps(content), encoding="utf-8")
    assert load_circuit(file) == replace(CIRCUIT, certificate=CERTIFICATE)

"""Cautions keep their figures in files and have lines in certificates; a file with other figures is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from graphs import Caution, CircuitGraph, certificate_lines, load_circuit, load_verdict, save_circuit, save_verdict
from graphs.cautions import FIGURES_IN_WORDS, CautionKind
from graphs.page.verdict_page import write_verdict_page
from graphs.words.certificate_words import worst_of
from graphs.words.notebook_view import circuit_view, verdict_view
from tests.graphs.test_circuit_graph import CIRCUIT
from tests.graphs.words.test_certificate_words import CERTIFICATE
from tests.worlds.synthetic_verdicts import verdict

SOME = Caution("shared_pairs", "held out", {"shared": 3, "pairs": 10}, "3 of the 10 pairs <b>also</b> found it.")
EVERY = replace(SOME, figures={"shared": 10, "pairs": 10})
MODEL = Caution("other_model", "'gpt2'", {"saes": 2, "all": 12}, "2 SAEs are of another model.")
WARNED = replace(CIRCUIT, certificate=replace(CERTIFICATE, warnings=(SOME, MODEL)))


def test_every_kind_has_words_for_its_figures() -> None:
    assert set(FIGURES_IN_WORDS) == set(get_args(CautionKind))
    assert (SOME.value, SOME.name) == ("3 of 10 pairs", "shared pairs, held out")
    assert replace(SOME, kind="inactive_dictionary", about="", figures={"saes": 1, "all": 2}).name == (
        "inactive dictionary"
    )
    with pytest.raises(ValueError, match="a warning of kind 'shared_pairs' with figures"):
        replace(SOME, figures={"pairs": 10})


def test_warnings_come_first_and_are_amber_or_red_where_nothing_is_left_of_the_judgement() -> None:
    first, second, *_ = certificate_lines(WARNED)
    assert (first.name, first.value, first.reading) == ("warning: shared pairs, held out", SOME.value, SOME.sentence)
    assert (first.colour, second.colour) == ("amber", "amber")
    grave = replace(CIRCUIT, certificate=replace(CERTIFICATE, warnings=(EVERY,)))
    assert certificate_lines(grave)[0].colour == worst_of(certificate_lines(grave)) == "red"
    assert not any(
        line.name.startswith("warning") for line in certificate_lines(replace(CIRCUIT, certificate=CERTIFICATE))
    )


def test_a_circuit_keeps_its_warnings_in_files_and_an_older_file_has_none(tmp_path: Path) -> None:
    save_circuit(WARNED, tmp_path / "c.json")
    assert load_circuit(tmp_path / "c.json") == WARNED
    assert CircuitGraph.from_networkx(WARNED.to_networkx()) == WARNED
    content = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    del content["certificate"]["warnings"]
    (tmp_path / "c.json").write_text(json.dumps(content), encoding="utf-8")
    assert load_circuit(tmp_path / "c.json") == replace(WARNED, certificate=CERTIFICATE)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"kind": "nothing"}, "kind of a Caution"),
        ({"figures": {"pairs": 3}}, "a warning of kind 'shared_pairs' with figures"),
        ({"figures": {"shared": "x", "pairs": 3}}, "figures.shared of a Caution is 'x'; expected a whole number"),
        ({"figures": {"shared": -1, "pairs": 3}}, "figures.shared of a Caution is -1; expected at least 0"),
        ({"figures": {"shared": 4, "pairs": 3}}, "counts more than all"),
        ({"sentence": None}, "sentence of a Caution"),
        ({"more": 1}, "a Caution has no more"),
    ],
)
def test_a_warning_that_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, object], fault: str) -> None:
    save_circuit(WARNED, tmp_path / "c.json")
    content = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    content["certificate"]["warnings"][0] |= changes
    (tmp_path / "c.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=fault):
        load_circuit(tmp_path / "c.json")


def test_a_verdict_keeps_its_warnings_and_its_page_and_display_say_them(tmp_path: Path) -> None:
    warned = replace(verdict(), warnings=(SOME,))
    save_verdict(warned, tmp_path / "v.json")
    assert load_verdict(tmp_path / "v.json").warnings == (SOME,)
    write_verdict_page(warned, tmp_path / "v.html", title="x")
    page = (tmp_path / "v.html").read_text(encoding="utf-8")
    assert "warning: shared pairs, held out</b> 3 of the 10 pairs &lt;b&gt;also&lt;/b&gt; found it." in page
    write_verdict_page(verdict(), tmp_path / "v.html", title="x")
    assert "<section class='amber warnings" not in (tmp_path / "v.html").read_text(encoding="utf-8")
    write_verdict_page(replace(verdict(), warnings=(EVERY,)), tmp_path / "v.html", title="x")
    assert "<section class='red warnings'>" in (tmp_path / "v.html").read_text(encoding="utf-8")
    assert "■  warning: shared pairs" in verdict_view(replace(verdict(), warnings=(EVERY,)))["text/plain"]
    assert SOME.value in verdict_view(warned)["text/plain"]
    assert "warnings" not in verdict_view(verdict())["text/plain"]


def test_a_notebook_displays_the_warnings_of_a_circuit_with_their_sentences() -> None:
    shown = circuit_view(WARNED)
    assert "▲  warning: shared pairs, held out" in shown["text/plain"]
    assert "3 of the 10 pairs &lt;b&gt;also&lt;/b&gt; found it." in shown["text/html"]

"""The page of two circuits in a browser: who has what by fill and dashes, nothing that runs, nothing from outside."""

from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser

from circuits.comparing.compare import compare
from circuits.comparing.side import Side
from graphs import CircuitGraph, FeatureNode, write_comparison_page
from graphs.comparison import Comparison
from graphs.nodes import Node
from graphs.page.comparison_page import drawn_union
from tests.graphs.page.opened import opened
from tests.graphs.page.page_circuits import ALONE, MLP, NOUN, POSITIONS, TOKEN, small_circuit
from tests.graphs.page.test_page_inert import HOSTILE

OWN = FeatureNode(MLP, 1, 11)
GREY, PAPER = "#55554f", "#ffffff"


def second_circuit() -> CircuitGraph:
    """The small circuit with another feature in the place of ALONE."""
    small = small_circuit()

    def other(node: Node) -> Node:
        return OWN if node == ALONE else node

    nodes = tuple(replace(w, node=other(w.node)) for w in small.nodes)
    edges = tuple(replace(e, source=other(e.source), target=other(e.target)) for e in small.edges)
    return replace(small, nodes=nodes, edges=edges)


def compared(names: tuple[str, str] = ("one", "two")) -> Comparison:
    return compare(Side(small_circuit(), name=names[0]), Side(second_circuit(), name=names[1]))


def test_every_node_and_edge_of_either_is_drawn_once_with_its_owners() -> None:
    union, nodes, edges = drawn_union(compared(), small_circuit(), second_circuit())
    owners = {w.node: n for w, n in zip(union.nodes, nodes, strict=True)}
    assert (owners[NOUN], owners[ALONE], owners[OWN], owners[TOKEN]) == (3, 1, 2, 3)
    assert sorted(edges) == [1, 2, 3, 3, 3, 3, 3, 3]
    noun = next(w for w in union.nodes if w.node == NOUN)
    assert noun.estimates == {"one": 0.8, "two": 0.8}


def test_features_of_other_saes_have_a_row_of_their_own() -> None:
    small, second = small_circuit(), second_circuit()
    rows = [replace(n, twin=None) for n in compared().nodes if n.a is not None and n.b is not None]
    found = replace(compared(), nodes=tuple(rows), other_saes=(MLP,))
    union, nodes, _ = drawn_union(found, small, second)
    owners = {w.node: n for w, n in zip(union.nodes, nodes, strict=True)}
    assert owners[FeatureNode(f"{MLP} of two", 1, 11)] == 2
    assert owners[NOUN] == 3
    assert union.sites[:2] == (MLP, f"{MLP} of two")


def test_rows_of_two_saes_are_marked(browser: Browser, tmp_path: Path) -> None:
    path, found = tmp_path / "page.html", replace(compared(), other_saes=(MLP,))
    write_comparison_page(found, small_circuit(), second_circuit(), path, title="one and two")
    with opened(browser, path) as own:
        assert {"mlp A", "mlp B"} <= set(own.frame().texts)
        assert "Rows marked A hold the features of one and those that match them" in own.panel()
        assert own.complaints == []


def test_effects_of_other_kinds_are_drawn_as_shares() -> None:
    small, other = small_circuit(), small_circuit(unit="nats")
    union, _, _ = drawn_union(compare(Side(small, name="one"), Side(other, name="two")), small, other)
    assert union.measurement.unit == "share of Σ |effect|"
    assert sum(abs(w.effect) for w in union.strongest()) == pytest.approx(1.0)


def test_different_kinds_of_numbers_are_never_averaged(browser: Browser, tmp_path: Path) -> None:
    """A logit difference and a probability: the larger share is drawn, totals and effects keep their units."""
    small = small_circuit()
    other = small_circuit(metric="probability_difference", unit="probability", metric_unit="probability")
    weaker = replace(
        other, nodes=tuple(replace(w, effect=-w.effect if w.node == NOUN else w.effect) for w in other.nodes)
    )
    found = compare(Side(small, name="one"), Side(weaker, name="two"))
    union, _, _ = drawn_union(found, small, weaker)
    whole = sum(abs(w.effect) for w in small.strongest())
    noun = next(w for w in union.nodes if w.node == NOUN)
    assert noun.estimates == pytest.approx({"one": 0.8 / whole, "two": -0.8 / whole})
    assert abs(noun.effect) == pytest.approx(0.8 / whole)
    assert union.measurement.method == "larger share of the two"
    path = tmp_path / "page.html"
    write_comparison_page(found, small, weaker, path, title="one and two")
    with opened(browser, path, urlencode({"node": union.name(NOUN), "tab": "node"})) as own:
        facts = own.page.inner_text("#facts")
        assert "one: logit difference −2.00 logits, 4 pairs" in facts
        assert "two: probability difference −2.00 probability, 4 pairs" in facts
        assert "one: +0.800 logits; two: −0.800 probability" in own.panel()


def test_who_has_a_node_is_told_by_fill_and_by_words_and_can_be_searched(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_comparison_page(compared(), small_circuit(), second_circuit(), path, title="one and two")
    with opened(browser, path) as own:
        drawn = own.frame()
        assert len(drawn.nodes) == 8
        whole = [node for node in drawn.nodes if node.fill == GREY]
        assert len(whole) == 6, "the halves of the two others are drawn on paper"
        assert {node.fill for node in drawn.nodes} == {GREY, PAPER}
        legend = own.page.locator("#legend").inner_text()
        assert all(words in legend for words in ("in both", "only in one", "only in two", "edge of both"))
        assert own.page.locator("#tab-certificate").inner_text() == "Comparison"
        assert "4 nodes are in both circuits: 80% of the 5 of one" in own.panel()
        assert own.page.locator("#against").count() == own.page.locator("#flag").count() == 0
        own.page.get_by_role("button", name="1 only in two").click()
        assert "blocks.0" not in own.panel()
        assert own.page.locator("#matches button").count() == 1
        own.page.locator("#matches button").click()
        assert "Only in two" in own.panel()
        assert own.complaints == []


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_names_stay_inert(kind: str, browser: Browser, tmp_path: Path) -> None:
    text, path = HOSTILE[kind], tmp_path / "page.html"
    positions = tuple(replace(p, label=f"{p.label}{text}", clean_token=text) for p in POSITIONS)
    a, b = (replace(circuit, positions=positions) for circuit in (small_circuit(), second_circuit()))
    found = compare(Side(a, name=f"{text}1"), Side(b, name=f"{text}2"))
    found = replace(found, notes=(text,), missing={text: text})
    write_comparison_page(found, a, b, path, title=text)
    with opened(browser, path) as own:
        content = own.page.locator("#panel").evaluate("(panel) => panel.textContent")
        assert content.count(text) >= 5
        assert own.page.locator("#side script, #side img, #legend script, #legend img").count() == 0
        assert own.page.evaluate("window.ran") is None
        assert own.page.evaluate("document.documentElement.scrollWidth") <= 1400
        assert own.complaints == []


def test_the_page_names_its_script_by_hash_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_comparison_page(compared(), small_circuit(), second_circuit(), path, title="one and two")
    text = path.read_text(encoding="utf-8")
    assert "default-src 'none'; script-src 'sha256-" in text
    assert "src=" not in text.split("<style>")[0]

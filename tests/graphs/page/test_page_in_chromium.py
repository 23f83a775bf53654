"""The page of the embedded model's circuit, used as a reader uses it, in a real browser."""

import re
from pathlib import Path

import networkx as nx
import pytest
from playwright.sync_api import Browser

from graphs import FeatureNode, Position, TokenNode, certificate_lines, write_page
from graphs.page.payload import payload
from tests.graphs.page.conftest import Written
from tests.graphs.page.opened import Drawn, DrawnNode, Opened, opened
from tests.graphs.page.page_circuits import small_circuit

RINGS = {"sign_flip": "#d55e00", "missed": "#0072b2", "phantom": "#b5478f", "wrong_size": "#a07800"}


def facts(own: Opened) -> tuple[int, int]:
    """Edges drawn and edges there are, as the page says."""
    text = own.page.locator("#facts").inner_text()
    found = re.search(r"(\d+) nodes · (?:(\d+) of )?(\d+) edges drawn", text)
    assert found, text
    return int(found[2] or found[3]), int(found[3])


def shown_node(own: Opened) -> str:
    """The name of the node whose panel is open."""
    return own.page.locator("#panel p.mono").inner_text()


def a_feature(drawn: Drawn) -> DrawnNode:
    """The largest disc."""
    return max((node for node in drawn.nodes if node.kind == "feature"), key=lambda node: node.radius)


def select_strongest(own: Opened) -> str:
    own.click(a_feature(own.frame()))
    return shown_node(own)


def cone_of(graph: "nx.DiGraph[str]", name: str) -> tuple[set[str], int]:
    """Nodes of a cone, and how many edges lie between those upstream and between those downstream."""
    up, down = {name, *nx.ancestors(graph, name)}, {name, *nx.descendants(graph, name)}
    return up | down, graph.subgraph(up).number_of_edges() + graph.subgraph(down).number_of_edges()


def test_it_draws_every_node_and_as_many_edges_as_it_says(on_embedded: Opened, embedded: Written) -> None:
    drawn = on_embedded.frame()
    kinds = [w.node.kind for w in embedded.circuit.nodes]
    assert {k: sum(n.kind == k for n in drawn.nodes) for k in kinds} == {k: kinds.count(k) for k in kinds}
    assert drawn.bright() == len(kinds)
    shown, total = facts(on_embedded)
    assert total == len(embedded.circuit.edges)
    assert drawn.curves == shown
    assert 0 < shown < total
    label = on_embedded.page.locator("#graph").get_attribute("aria-label")
    counted = len(embedded.circuit.strongest())  # without the metric, as everywhere
    assert label == f"Circuit with {counted} nodes and {total} edges. {shown} edges are drawn."
    assert f"{counted} nodes · " in on_embedded.page.locator("#facts").inner_text()


def test_it_opens_with_every_line_of_the_certificate(on_embedded: Opened, embedded: Written) -> None:
    on_embedded.page.locator("#panel summary").click()
    panel = on_embedded.panel()
    lines = certificate_lines(embedded.circuit)
    for line in lines:
        assert line.name in panel
        assert line.reading in panel
    readings = on_embedded.page.locator("#panel ul.lines li p").all_inner_texts()
    assert embedded.circuit.certificate is not None
    first = len(embedded.circuit.certificate.warnings) + 1
    assert [line.name.partition(",")[0] for line in lines[:first]] == ["warning: few pairs", "faithfulness"]
    leading = (*lines[:first], *(line for c in ("red", "amber") for line in lines[first:] if line.colour == c))
    assert {line.reading for line in leading} == {r.rsplit(" (", 1)[0] for r in readings[: len(leading)]}
    marks = on_embedded.page.locator("#panel svg.scatter circle.mark")
    assert marks.count() == sum(w.node.kind in ("feature", "error") for w in embedded.circuit.nodes)


def test_a_hovered_node_is_named_and_left_again_it_is_not(on_embedded: Opened, embedded: Written) -> None:
    tooltip = on_embedded.page.locator("#tooltip")
    assert tooltip.is_hidden()
    on_embedded.page.mouse.move(*on_embedded.at(a_feature(on_embedded.frame())))
    first = tooltip.inner_text().splitlines()[0]
    labels = {label.text.split(" | ")[0].removeprefix("fires on: ") for label in embedded.labels}
    assert any(first.endswith(label) for label in labels), first
    assert any(first in text or text.rstrip("…") in first for text in on_embedded.frame().texts if len(text) > 8)
    on_embedded.page.mouse.move(5, 5)
    assert tooltip.is_hidden()


def test_a_click_traces_a_node_and_dims_what_lies_outside_its_cone(on_embedded: Opened, embedded: Written) -> None:
    name = select_strongest(on_embedded)
    nodes, edges = cone_of(embedded.circuit.to_networkx(), name)
    drawn = on_embedded.frame()
    assert drawn.bright() == len(nodes)
    assert len(drawn.nodes) == len(embedded.circuit.nodes)
    assert drawn.curves == edges == facts(on_embedded)[0]


def test_the_panel_of_a_node_shows_its_numbers_and_edges(on_embedded: Opened, embedded: Written) -> None:
    name = select_strongest(on_embedded)
    weighted = embedded.circuit.node(name)
    assert isinstance(weighted.node, FeatureNode)
    graph = embedded.circuit.to_networkx()
    text = on_embedded.panel()
    assert embedded.labels.of(weighted.node.site, weighted.node.index).text in text
    for value in (weighted.effect, *weighted.estimates.values()):
        sign = "−" if value < 0 else "+"
        assert re.search(re.escape(sign + f"{abs(value):.3g}"), text), value
    assert f"Inputs ({graph.in_degree(name)})" in text
    assert f"Outputs ({graph.out_degree(name)})" in text
    first = on_embedded.page.locator("#panel .sides section").first.locator("button").first
    first.click()
    assert graph.has_edge(shown_node(on_embedded), name)


def test_a_second_click_pins_and_a_third_unpins(on_embedded: Opened) -> None:
    node = a_feature(on_embedded.frame())
    on_embedded.click(node)
    pin = on_embedded.page.get_by_role("button", name="Pin", exact=True)
    assert pin.get_attribute("aria-pressed") == "false"
    on_embedded.click(node)
    assert on_embedded.page.locator("#tab-pinned").inner_text() == "Pinned (1)"
    assert on_embedded.page.get_by_role("button", name="Unpin").get_attribute("aria-pressed") == "true"
    on_embedded.click(node)
    assert on_embedded.page.locator("#tab-pinned").inner_text() == "Pinned"


def test_the_slider_leaves_the_edges_at_least_as_strong(on_embedded: Opened, embedded: Written) -> None:
    on_embedded.page.locator("#all").check()
    everything = on_embedded.frame().curves
    assert everything == len(embedded.circuit.edges)
    on_embedded.page.locator("#least").evaluate("(s) => { s.value = 60; s.dispatchEvent(new Event('input')); }")
    least = float(dict(part.split("=") for part in on_embedded.fragment().split("&"))["least"])
    expected = sum(abs(edge.weight) >= least for edge in embedded.circuit.edges)
    assert on_embedded.frame().curves == pytest.approx(expected, abs=1)
    assert 0 < expected < everything


def test_size_and_rings_follow_the_chosen_method(on_embedded: Opened, embedded: Written) -> None:
    header, _ = payload(embedded.circuit, title="", labels=None)
    checked = 0
    for method in header["methods"][1:]:
        on_embedded.page.locator("#against").select_option(method["key"])
        rings = sorted(on_embedded.frame().rings)
        assert rings == sorted(RINGS[flag] for flag in method["flags"].values())
        checked += len(rings)
    assert checked > 0, "no estimate is wrong about any node, so no ring was seen"
    before = {(n.x, n.y, n.radius) for n in on_embedded.frame().nodes}
    on_embedded.page.locator("#size").select_option("ig")
    assert {(n.x, n.y, n.radius) for n in on_embedded.frame().nodes} != before
    on_embedded.page.locator("#against").select_option("")
    assert on_embedded.frame().rings == ()


def test_the_flag_filter_leaves_the_flagged_nodes(on_embedded: Opened, embedded: Written) -> None:
    header, _ = payload(embedded.circuit, title="", labels=None)
    flags = next(method["flags"] for method in header["methods"] if method["key"] == "ig")
    on_embedded.page.locator("#flag").select_option("any")
    heading = on_embedded.page.locator("#panel h2").inner_text()
    assert heading == f"{len(flags)} of {len(embedded.circuit.strongest())} nodes"
    assert on_embedded.frame().bright() == len(flags)


@pytest.mark.parametrize("what", ["label", "token", "index"])
def test_slash_searches_by_label_token_and_index(what: str, on_embedded: Opened, embedded: Written) -> None:
    circuit = embedded.circuit
    feature = next(w.node for w in circuit.strongest() if isinstance(w.node, FeatureNode))
    position = circuit.positions[feature.position]
    words = {
        "label": embedded.labels.of(feature.site, feature.index).text.lower(),
        "token": position.clean_token.strip(),
        "index": f"/{feature.index}",
    }
    on_embedded.page.keyboard.press("/")
    on_embedded.page.keyboard.type(words[what])
    matches = on_embedded.page.locator("#matches button")
    titles = [matches.nth(n).get_attribute("title") for n in range(matches.count())]
    assert circuit.name(feature) in titles
    assert len(titles) == on_embedded.frame().bright() < len(circuit.nodes)
    on_embedded.page.keyboard.press("Enter")
    on_embedded.page.keyboard.press("Enter")
    assert shown_node(on_embedded) == titles[0]


def test_tokens_are_nodes_that_can_be_selected(on_embedded: Opened, embedded: Written) -> None:
    tokens = [w for w in embedded.circuit.nodes if isinstance(w.node, TokenNode)]
    squares = [node for node in on_embedded.frame().nodes if node.kind == "token"]
    assert len(squares) == len(tokens) > 0
    on_embedded.click(squares[0])
    assert shown_node(on_embedded) in {embedded.circuit.name(w.node) for w in tokens}


def out_of_sight(own: Opened, drawn: Drawn) -> int:
    """How many nodes were drawn beyond the canvas."""
    box = own.page.locator("#graph").bounding_box()
    assert box is not None
    return sum(not (0 <= node.x <= box["width"] and 0 <= node.y <= box["height"]) for node in drawn.nodes)


def test_the_whole_circuit_stays_in_sight_when_the_window_shrinks(on_embedded: Opened) -> None:
    on_embedded.page.set_viewport_size({"width": 360, "height": 400})
    on_embedded.page.wait_for_function("document.getElementById('graph').getBoundingClientRect().width < 400")
    on_embedded.page.wait_for_timeout(200)
    assert out_of_sight(on_embedded, on_embedded.frame()) == 0


def test_zooming_out_of_a_wide_circuit_does_not_zoom_in(browser: Browser, tmp_path: Path) -> None:
    many = tuple(Position(f"p{n}", f" word{n}", f" word{n}") for n in range(200))
    write_page(small_circuit(many), tmp_path / "wide.html", title="wide")
    with opened(browser, tmp_path / "wide.html") as own:
        before = own.frame()
        own.page.locator("#graph").focus()
        own.page.keyboard.press("-")
        after = own.frame()
        assert sorted((n.x, n.y) for n in after.nodes) == sorted((n.x, n.y) for n in before.nodes), "it is all there"
        assert own.complaints == []

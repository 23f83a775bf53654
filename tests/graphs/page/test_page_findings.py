"""What a checker found, on the page: verdict, cause, jumps, the node's own path; and graphs with several outputs."""

from dataclasses import replace
from pathlib import Path

from playwright.sync_api import Browser

from graphs import (
    CircuitGraph,
    CrossedGate,
    Edge,
    MetricNode,
    NodeVerdict,
    PathTrace,
    Verdict,
    WeightedNode,
    write_page,
)
from tests.graphs.page.opened import opened
from tests.graphs.page.page_circuits import LATER, METRIC, MIDDLE, POST, small_circuit
from tests.worlds.synthetic_verdicts import verdict

NODE = "node=blocks.1.hook_attn_out%2F3%40verb&tab=node"


def found_at_middle() -> Verdict:
    """A wrong sign at MIDDLE in the second example, mostly by two gates that flip together; its path was traced."""
    gates = tuple(CrossedGate(POST, 1, index, index == 300, 0.25, -0.875) for index in (300, 41))
    flagged = NodeVerdict(MIDDLE, 1, 0.5, -0.6, "sign_flip", {"jump": 1.0, "curvature": 0.1}, gates)
    trace = PathTrace(
        MIDDLE, 1, (0.0, 0.2, 0.3, 1.0), (1.0, 1.1, 0.2, 0.4), (0.5, 0.5, 0.3, 0.3), {"gate": (-1.0, -0.2, 0.2, 2.0)}
    )
    names = (("noun", "verb"),) * 4
    return replace(verdict(), flagged=(flagged,), traces=(trace,), names=names)


def test_a_finding_shows_cause_jump_and_path(browser: Browser, tmp_path: Path) -> None:
    write_page(small_circuit(), tmp_path / "page.html", title="findings", verdict=found_at_middle())
    with opened(browser, tmp_path / "page.html", NODE) as own:
        panel = own.panel()
        assert "Pair 2: IG (10 points) says +0.500, patching says −0.600, mostly by jump (+1.00 of +1.10)." in panel
        assert "At α = 0.25 the metric jumps by −0.875: blocks.1.hook_resid_post/300@verb and 1 more flip" in panel
        plot = own.page.locator("#panel svg.path")
        assert plot.locator(".jump").count() == 1
        lines = plot.locator("polyline")
        assert lines.count() == 5, "metric and slope in two pieces each, broken at the jump, and one margin"
        assert own.complaints == []


def test_a_node_of_which_rounding_decides_an_effect_shows_both_values(browser: Browser, tmp_path: Path) -> None:
    circuit = small_circuit()
    marked = {"undecided": 1, "closed_effect": -0.6, "open_effect": 0.25}
    nodes = tuple(replace(w, **marked) if w.node == MIDDLE else w for w in circuit.nodes)
    write_page(replace(circuit, nodes=nodes), tmp_path / "page.html", title="findings")
    with opened(browser, tmp_path / "page.html", NODE) as own:
        assert "Undecided in 1 of these pairs" in own.panel()
        assert "closed −0.600, open +0.250" in own.panel()
        assert own.complaints == []


def test_without_a_flipped_gate_there_is_no_empty_panel_of_margins(browser: Browser, tmp_path: Path) -> None:
    found = found_at_middle()
    live = replace(
        found,
        flagged=(replace(found.flagged[0], parts=None, gates=()),),
        traces=(replace(found.traces[0], margins={}),),
    )
    write_page(small_circuit(), tmp_path / "page.html", title="live", verdict=live)
    with opened(browser, tmp_path / "page.html", NODE) as own:
        plot = own.page.locator("#panel svg.path")
        assert "gate margins" not in (plot.text_content() or "")
        assert plot.locator("polyline").count() == 2
        assert plot.locator(".jump").count() == 0
        assert "mostly by" not in own.panel()
        assert own.complaints == []


def several_outputs() -> CircuitGraph:
    """The small circuit with a second logit."""
    circuit = small_circuit(patch_value="none", method="influence")
    other = MetricNode("Houston")
    nodes = (*circuit.nodes, WeightedNode(other, 0.0, 0.0, None, 4, None, None))
    return replace(circuit, nodes=nodes, edges=(*circuit.edges, Edge(LATER, other, -0.25)))


def test_every_output_has_its_name(browser: Browser, tmp_path: Path) -> None:
    write_page(several_outputs(), tmp_path / "page.html", title="outputs")
    with opened(browser, tmp_path / "page.html", "node=metric%2FHouston&tab=node") as own:
        panel = own.panel()
        assert "metric/Houston" in panel
        assert "L1 resid/300" in panel
        own.page.keyboard.press("/")
        own.page.keyboard.type(METRIC.name)
        assert own.page.locator("#matches button").count() == 1
        own.page.locator("#tab-certificate").click()
        assert "No node was patched." in own.panel()
        assert own.complaints == []

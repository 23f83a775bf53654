"""The page without a pointer and for those who do not see it: keys, focus, names, colours, small windows."""

import pytest
from playwright.sync_api import Browser

from tests.graphs.page.conftest import Written
from tests.graphs.page.opened import Opened, opened

CONTROLS = ["size", "against", "flag", "least", "all", "search", "save", "reset", "help-button", "graph"]
FOCUS = """() => {
  const e = document.activeElement;
  const { outlineStyle, outlineWidth, outlineColor } = getComputedStyle(e);
  return { id: e.id, tag: e.tagName, outlineStyle, outlineWidth: parseFloat(outlineWidth), outlineColor };
}"""


def announced(own: Opened) -> str:
    return own.page.locator("#announcer").inner_text()


def test_tab_reaches_every_control_in_order_and_each_shows_its_focus(on_embedded: Opened) -> None:
    seen = []
    for _ in range(30):
        on_embedded.page.keyboard.press("Tab")
        focus = on_embedded.page.evaluate(FOCUS)
        if focus["tag"] == "BODY":
            break
        assert focus["outlineStyle"] == "solid", focus
        assert focus["outlineWidth"] >= 2, focus
        assert focus["outlineColor"] not in ("rgba(0, 0, 0, 0)", "rgb(255, 255, 255)"), focus
        seen.append(focus["id"] or focus["tag"])
    assert seen == [*CONTROLS, "tab-certificate", "panel", "circle", "SUMMARY"]


def test_a_circuit_is_read_traced_pinned_grouped_and_left_by_keys_alone(on_small: Opened) -> None:
    keys = on_small.page.keyboard
    for _ in CONTROLS:
        keys.press("Tab")
    keys.press("ArrowRight")
    assert announced(on_small).startswith("token “cat”, at noun; exact −1.00"), "the largest node is the first"
    keys.press("ArrowUp")
    assert announced(on_small).startswith("L0 mlp/7 a noun, at noun; exact +0.800")
    keys.press("Enter")
    assert on_small.page.locator("#panel p.mono").inner_text() == "blocks.0.hook_mlp_out/7@noun"
    keys.press("Enter")
    keys.press("ArrowUp")
    assert announced(on_small).startswith("L1 attn/3")
    keys.press("Enter")
    keys.press("Enter")
    assert on_small.page.locator("#tab-pinned").inner_text() == "Pinned (2)"
    keys.press("g")
    keys.type("subject")
    keys.press("Enter")
    assert on_small.page.locator("#panel h2").inner_text() == "subject"
    assert [node.kind for node in on_small.frame().nodes].count("supernode") == 1
    keys.press("Escape")
    assert on_small.page.evaluate(FOCUS)["id"] == "graph"
    assert "node=" not in on_small.fragment()


def test_arrow_keys_go_through_the_tabs(on_small: Opened) -> None:
    on_small.page.locator("#tab-certificate").focus()
    for expected in ("tab-nodes", "tab-node", "tab-pinned", "tab-certificate"):
        on_small.page.keyboard.press("ArrowRight")
        assert on_small.page.evaluate(FOCUS)["id"] == expected
        assert on_small.page.locator(f"#{expected}").get_attribute("aria-selected") == "true"
    on_small.page.keyboard.press("ArrowLeft")
    assert on_small.page.evaluate(FOCUS)["id"] == "tab-pinned"


def test_arrow_keys_go_through_the_scatter_and_enter_shows_the_node(on_small: Opened) -> None:
    on_small.page.locator("svg.scatter circle[tabindex='0']").focus()
    on_small.page.keyboard.press("ArrowRight")
    on_small.page.keyboard.press("ArrowLeft")
    label = on_small.page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label.startswith("L1 attn/3: effect −0.600, estimate +0.500, sign flip"), "the largest error comes first"
    on_small.page.keyboard.press("Enter")
    assert on_small.page.locator("#panel p.mono").inner_text() == "blocks.1.hook_attn_out/3@verb"


def test_question_mark_lists_the_keys_and_escape_closes_the_list(on_small: Opened) -> None:
    on_small.page.locator("#graph").focus()
    on_small.page.keyboard.press("?")
    assert on_small.page.locator("dialog#help").is_visible()
    assert "search by label, token or index" in on_small.page.locator("dialog#help").inner_text()
    on_small.page.keyboard.press("Escape")
    assert on_small.page.locator("dialog#help").is_hidden()


def test_zoom_and_pan_by_keys_move_the_nodes_and_zero_brings_them_back(on_small: Opened) -> None:
    on_small.page.locator("#graph").focus()
    first = on_small.frame()
    on_small.page.keyboard.press("+")
    assert on_small.frame().nodes != first.nodes
    on_small.page.keyboard.press("Shift+ArrowLeft")
    on_small.page.keyboard.press("0")
    assert on_small.frame().nodes == first.nodes


@pytest.mark.parametrize("tab", ["certificate", "nodes", "node", "pinned"])
def test_every_element_that_takes_focus_has_a_name(tab: str, browser: Browser, small: Written) -> None:
    noun, later = "blocks.0.hook_mlp_out%2F7%40noun", "blocks.1.hook_resid_post%2F300%40verb"
    with opened(browser, small.path, f"node={noun}&pin={noun}&pin={later}&tab={tab}") as own:
        session = own.page.context.new_cdp_session(own.page)
        nodes = session.send("Accessibility.getFullAXTree")["nodes"]
        focusable = [n for n in nodes if not n["ignored"] and _property(n, "focusable")]
        roles = {n["role"]["value"] for n in focusable}
        assert roles >= {"combobox", "slider", "checkbox", "searchbox", "button", "tab", "tabpanel", "application"}
        unnamed = [n["role"] for n in focusable if not n.get("name", {}).get("value", "").strip()]
        assert unnamed == []
        assert own.complaints == []


def _property(node: dict, name: str) -> object:
    return next((p["value"].get("value") for p in node.get("properties", ()) if p["name"] == name), None)


def test_dark_and_light_follow_the_system_also_while_the_page_is_open(on_small: Opened) -> None:
    light = on_small.frame()
    paper = "getComputedStyle(document.body).backgroundColor"
    assert on_small.page.evaluate(paper) == "rgb(255, 255, 255)"
    on_small.page.emulate_media(color_scheme="dark")
    dark = on_small.frame()
    assert on_small.page.evaluate(paper) == "rgb(22, 23, 26)"
    assert [(n.x, n.y) for n in dark.nodes] == [(n.x, n.y) for n in light.nodes]
    assert not {n.fill for n in dark.nodes} & {n.fill for n in light.nodes}


@pytest.mark.parametrize("width", [1400, 800, 420])
def test_nothing_is_wider_than_the_window(width: int, browser: Browser, embedded: Written) -> None:
    with opened(browser, embedded.path, viewport={"width": width, "height": 900}) as own:
        for tab in ("certificate", "nodes", "node", "pinned"):
            own.page.locator(f"#tab-{tab}").click()
            assert own.page.evaluate("document.documentElement.scrollWidth") <= width
        assert len(own.frame().nodes) == len(embedded.circuit.nodes)
        assert own.complaints == []

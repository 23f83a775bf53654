"""What a reader does to a page stays: in the address, in a saved file, and until it is taken back."""

import json
import re
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from playwright.sync_api import Browser

from graphs import write_page
from tests.graphs.page.conftest import Written
from tests.graphs.page.opened import Drawn, Opened, opened
from tests.graphs.page.page_circuits import LATER, MIDDLE, NOUN, TOKEN

NAMES = {
    "noun": "blocks.0.hook_mlp_out/7@noun",
    "alone": "blocks.0.hook_mlp_out/9@verb",
    "middle": "blocks.1.hook_attn_out/3@verb",
    "later": "blocks.1.hook_resid_post/300@verb",
}


def pin(own: Opened, *names: str) -> None:
    """Search each node by its name, trace it from the list, pin it with the key p."""
    for name in names:
        own.page.locator("#search").fill(name)
        own.page.locator("#matches button").click()
        own.page.locator("#search").fill("")
        own.page.locator("#graph").focus()
        own.page.keyboard.press("p")


def group(own: Opened, name: str) -> None:
    own.page.locator("#graph").focus()
    own.page.keyboard.press("g")
    own.page.keyboard.type(name)
    own.page.keyboard.press("Enter")


def rows(own: Opened, side: str) -> dict[str, float]:
    """Weights of the listed inputs or outputs, by name."""
    buttons = own.page.locator("#panel .sides section").filter(has_text=side).locator("button")
    titles = [buttons.nth(n).get_attribute("title") or "" for n in range(buttons.count())]
    found = [re.fullmatch(r"(.+?) ([+−][\d.]+)( ± .*)?", title) for title in titles]
    return {match[1]: float(match[2].replace("−", "-")) for match in found if match}


def same_picture(one: Drawn, other: Drawn) -> bool:
    return (one.nodes, one.curves, sorted(one.texts)) == (other.nodes, other.curves, sorted(other.texts))


def test_pinned_nodes_become_one_supernode_with_weights_and_effects_added(on_small: Opened, small: Written) -> None:
    pin(on_small, NAMES["noun"], NAMES["middle"])
    before = on_small.frame()
    group(on_small, "plural")
    assert on_small.page.locator("#panel h2").inner_text() == "plural"
    weight = {(e.source, e.target): e.weight for e in small.circuit.edges}
    assert rows(on_small, "Inputs") == pytest.approx({"token@noun": weight[TOKEN, NOUN]}, abs=1e-3)
    both = weight[NOUN, LATER] + weight[MIDDLE, LATER]
    assert rows(on_small, "Outputs") == pytest.approx({NAMES["later"]: both}, abs=1e-3)
    effects = [small.circuit.node(NAMES[n]).effect for n in ("noun", "middle")]
    assert f"+{sum(effects):.3f}" in on_small.panel()
    after = on_small.frame()
    assert len(after.nodes) == len(before.nodes) - 1
    assert [node.kind for node in after.nodes].count("supernode") == 1
    assert dict(parse_qsl(on_small.fragment()))["group"] == f"plural|{NAMES['noun']}|{NAMES['middle']}"


def test_ungrouping_brings_the_members_back(on_small: Opened) -> None:
    before = on_small.frame()
    pin(on_small, NAMES["noun"], NAMES["middle"])
    group(on_small, "plural")
    on_small.page.get_by_role("button", name="Ungroup").click()
    on_small.page.locator("#graph").focus()
    on_small.page.keyboard.press("Escape")
    after = on_small.frame()
    assert {(n.kind, n.x, n.y) for n in after.nodes} == {(n.kind, n.x, n.y) for n in before.nodes}
    assert after.curves == before.curves
    assert on_small.page.locator("#tab-pinned").inner_text() == "Pinned (2)"


def test_two_supernodes_cannot_have_one_name(on_small: Opened) -> None:
    pin(on_small, NAMES["noun"], NAMES["middle"])
    group(on_small, "same")
    on_small.page.keyboard.press("Escape")
    on_small.page.locator("#graph").focus()
    on_small.page.locator("#tab-pinned").click()
    on_small.page.get_by_role("button", name=re.compile("Unpin")).click()
    pin(on_small, NAMES["later"], NAMES["alone"])
    group(on_small, "same")
    message = on_small.page.locator("#group-name").evaluate("(input) => input.validationMessage")
    assert "There is a supernode “same” already" in message
    assert dict(parse_qsl(on_small.fragment())).get("group") == f"same|{NAMES['noun']}|{NAMES['middle']}"


def test_a_row_of_the_list_shows_its_node_whether_it_was_traced_already_or_not(on_small: Opened) -> None:
    on_small.page.locator("#tab-nodes").click()
    for _ in range(2):
        on_small.page.locator("#tab-nodes").click()
        on_small.page.locator(f"#matches button[title='{NAMES['noun']}']").click()
        assert on_small.page.locator("#panel p.mono").inner_text() == NAMES["noun"]
    assert on_small.page.locator("#tab-pinned").inner_text() == "Pinned"


def test_an_edited_label_is_shown_searched_and_taken_back(on_small: Opened) -> None:
    pin(on_small, NAMES["middle"])
    on_small.page.get_by_role("button", name="Edit label").click()
    on_small.page.keyboard.type("<b>subject</b>")
    on_small.page.keyboard.press("Enter")
    assert on_small.page.locator("#panel h2").inner_text().endswith("<b>subject</b>")
    on_small.page.locator("#search").fill("subject")
    assert on_small.page.locator("#matches button").count() == 1
    on_small.page.locator("#matches button").click()
    on_small.page.get_by_role("button", name="Edit label").click()
    on_small.page.keyboard.press("Delete")
    on_small.page.keyboard.press("Enter")
    assert "label=" not in on_small.fragment()
    assert "subject" not in on_small.page.locator("#panel h2").inner_text()


def everything(own: Opened) -> None:
    """A state that differs from the defaults in every part."""
    pin(own, NAMES["noun"], NAMES["middle"])
    group(own, "a|b\\c </script>")
    pin(own, NAMES["later"])
    own.page.get_by_role("button", name="Edit label").click()
    own.page.keyboard.type("late & <i>")
    own.page.keyboard.press("Enter")
    own.page.locator("#size").select_option("ig")
    own.page.locator("#against").select_option("atp")
    own.page.locator("#least").evaluate("(s) => { s.value = 30; s.dispatchEvent(new Event('input')); }")
    own.page.locator("#all").check()
    own.page.locator("#search").fill("l")
    own.page.locator("#tab-pinned").click()


def test_a_saved_page_opens_with_the_same_state_and_can_be_saved_again(
    browser: Browser, small: Written, tmp_path: Path
) -> None:
    first, second = tmp_path / "first.html", tmp_path / "second.html"
    with opened(browser, small.path) as own:
        everything(own)
        before, fragment, panel = own.frame(), own.fragment(), own.panel()
        assert {part for part, _ in parse_qsl(fragment)} >= {"pin", "group", "label", "size", "against", "least", "all"}
        save(own, first)
        assert own.complaints == []
    with opened(browser, first) as own:
        assert own.fragment() == ""
        assert same_picture(own.frame(), before)
        assert own.panel() == panel
        save(own, second)
        assert own.complaints == []
    assert second.read_bytes() == first.read_bytes()
    block = re.compile(r'(?<=id="state">)[^<]*')
    written, saved = (path.read_text(encoding="utf-8") for path in (small.path, first))
    assert as_browsers_write(block.sub("", saved)) == as_browsers_write(block.sub("", written))
    state = block.search(saved)
    assert state
    assert json.loads(state[0])["groups"][0]["name"] == "a|b\\c </script>"


def as_browsers_write(page: str) -> str:
    """Browsers move line ends about between elements, and write `hidden=""` for `hidden`."""
    return re.sub(r">\s+<", "><", page.strip()).replace(" hidden>", ' hidden="">')


def save(own: Opened, path: Path) -> None:
    with own.page.expect_download() as download:
        own.page.locator("#save").click()
    assert download.value.suggested_filename == "small.html"
    download.value.save_as(path)


def test_a_deep_link_opens_the_state_it_was_copied_from(browser: Browser, small: Written) -> None:
    with opened(browser, small.path) as own:
        everything(own)
        before, fragment = own.frame(), own.fragment()
    with opened(browser, small.path, fragment) as own:
        assert same_picture(own.frame(), before)
        assert own.fragment() == fragment
        own.page.evaluate("(hash) => { location.hash = hash; }", "node=token%40noun&tab=node")
        assert own.page.locator("#panel p.mono").inner_text() == "token@noun"
        assert own.complaints == []


def test_a_link_to_what_the_circuit_lacks_opens_the_page_without_it(browser: Browser, small: Written) -> None:
    with opened(browser, small.path, "node=nothing&pin=no&group=g|x|y&size=magic&least=-3&tab=here&label=a") as own:
        assert len(own.frame().nodes) == len(small.circuit.nodes)
        assert own.page.locator("#tab-certificate").get_attribute("aria-selected") == "true"
        assert own.complaints == []


def test_all_choices_taken_back_leave_an_empty_address_and_the_first_picture(on_small: Opened) -> None:
    first = on_small.frame()
    pin(on_small, NAMES["noun"])
    on_small.page.locator("#all").check()
    on_small.page.locator("#size").select_option("ig")
    on_small.page.locator("#search").fill("zzz")
    assert on_small.frame().bright() == 1, "only the traced node is in sight when nothing matches"
    on_small.page.keyboard.press("Escape")
    on_small.page.keyboard.press("p")
    on_small.page.keyboard.press("Escape")
    on_small.page.locator("#all").uncheck()
    on_small.page.locator("#size").select_option("effect")
    on_small.page.locator("#tab-certificate").click()
    on_small.page.mouse.move(2, 2)
    assert on_small.fragment() == ""
    assert same_picture(on_small.frame(), first)


def test_pins_and_supernodes_given_when_writing_are_there_when_opened(
    browser: Browser, tmp_path: Path, small: Written
) -> None:
    groups = [("ends", ["token@noun", NAMES["noun"]])]
    write_page(small.circuit, tmp_path / "p.html", title="t", pinned=[NAMES["later"]], supernodes=groups)
    with opened(browser, tmp_path / "p.html") as own:
        assert [node.kind for node in own.frame().nodes].count("supernode") == 1
        own.page.locator("#tab-pinned").click()
        assert "L1 resid/300" in own.panel()
        assert "ends · 2 nodes" in own.panel()
        assert own.complaints == []

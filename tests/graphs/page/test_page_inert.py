"""Data stays data: labels, tokens and names that look like code are shown as text and nothing else happens."""

from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser

from graphs import write_page
from tests.graphs.page.conftest import Written
from tests.graphs.page.opened import Opened, opened
from tests.graphs.page.page_circuits import MLP, POSITIONS, labels_saying, small_circuit

HOSTILE = {
    "script": "<script>window.ran = 1</script>",
    "end of script": "</script><script>window.ran = 1</script>",
    "handler": "\"><img src=x onerror='window.ran = 1'>",
    "quotes": "'\"`${window.ran = 1}`",
    "entities": "&lt;b&gt; &amp; &#x202e;",
    "right to left": "שלום \u202eevil\u202c \u2067isolate",
    "long": "very long " * 1000,
    "one long word": "x" * 10_000,
    "emoji": "🧭👩‍👩‍👧 flags 🇺🇳",
    "lines": "one\ntwo\r\nthree\u2028four",
    "controls": "a\0b\x07c\x1b[31m",
    "address": "https://example.invalid/x javascript:window.ran=1",
    "comment": "<!-- --!> ]]> <![CDATA[",
    "template": "$script ${title} $$ %s {0}",
}
COUNT = """() => {
  const counts = {};
  for (const { tagName } of document.querySelectorAll("*")) counts[tagName] = (counts[tagName] ?? 0) + 1;
  return counts;
}"""


def page_saying(path: Path, text: str) -> str:
    """A page with the text in labels, contexts, tokens, position names, title; the fragment puts it into the rest."""
    positions = tuple(replace(p, label=f"{p.label}{text}", clean_token=text, patch_token=f"{text}!") for p in POSITIONS)
    labels = labels_saying(text, (text, f"{text}1", f"{text}2"))
    write_page(small_circuit(positions), path, title=text, labels=labels)
    node = f"{MLP}/7@noun{text}"
    group = f"{text}|token@noun{text}|blocks.1.hook_attn_out/3@verb{text}".replace("\\", "\\\\")
    return urlencode({"node": node, "pin": node, "group": group, "tab": "node"})


@pytest.fixture(scope="module")
def tame(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, int]]:
    """How many elements of each kind a page with harmless texts has, by tab."""
    path = tmp_path_factory.mktemp("tame") / "page.html"
    with opened(browser, path, page_saying(path, "plain")) as own:
        return elements_by_tab(own)


def elements_by_tab(own: Opened) -> dict[str, dict[str, int]]:
    found = {}
    for tab in ("certificate", "nodes", "pinned", "node"):
        own.page.locator(f"#tab-{tab}").click()
        found[tab] = own.page.evaluate(COUNT)
    return found


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_texts_stay_inert_and_are_shown(
    kind: str, browser: Browser, tame: dict[str, dict[str, int]], tmp_path: Path
) -> None:
    text = HOSTILE[kind]
    fragment = page_saying(tmp_path / "page.html", text)
    with opened(browser, tmp_path / "page.html", fragment) as own:
        assert elements_by_tab(own) == tame, "an element was made from data"
        content = own.page.locator("#panel").evaluate("(panel) => panel.textContent")
        assert own.page.locator("#panel h2").evaluate("(h) => h.textContent") == f"L0 mlp/7 · {text}"
        assert content.count(text) >= 6, "label, name, position and the tokens of the context"
        own.page.locator("#tab-pinned").click()
        assert text in own.page.locator("#panel").evaluate("(panel) => panel.textContent")
        assert own.page.locator("#title").inner_text().strip() != ""
        drawn = own.frame()
        assert [node.kind for node in drawn.nodes].count("supernode") == 1
        assert any(shown.startswith("L0 mlp/7") for shown in drawn.texts)
        assert own.page.evaluate("document.documentElement.scrollWidth") <= 1400
        save_and_reopen(own, browser, tmp_path / "saved.html", text)
        assert own.page.evaluate("window.ran") is None
        assert own.complaints == []


def save_and_reopen(own: Opened, browser: Browser, path: Path, text: str) -> None:
    with own.page.expect_download() as download:
        own.page.locator("#save").click()
    download.value.save_as(path)
    with opened(browser, path) as again:
        assert text in again.page.locator("#panel").evaluate("(panel) => panel.textContent")
        assert again.frame().nodes == own.frame().nodes
        assert again.page.evaluate("window.ran") is None
        assert again.complaints == []


def test_a_hovered_hostile_name_fits_the_window(browser: Browser, tmp_path: Path) -> None:
    page_saying(tmp_path / "page.html", HOSTILE["one long word"])
    with opened(browser, tmp_path / "page.html") as own:
        node = max((n for n in own.frame().nodes if n.kind == "feature"), key=lambda n: n.radius)
        own.page.mouse.move(*own.at(node))
        box = own.page.locator("#tooltip").bounding_box()
        assert box is not None
        assert min(box["x"], box["y"]) >= 0
        assert box["x"] + box["width"] <= 1400
        assert box["y"] + box["height"] <= 900
        assert own.complaints == []


MAKE_SCRIPT = "const s = document.createElement('script'); document.body.append(s);"
MAKE_LINK = "const a = document.createElement('a'); document.body.append(a);"
ATTACKS = {
    "inline script": f"{MAKE_SCRIPT} s.textContent = 'window.ran = 1';",
    "data script": f"{MAKE_SCRIPT} s.src = 'data:text/javascript,window.ran=1';",
    "inline handler": f"{MAKE_LINK} a.setAttribute('onclick', 'window.ran = 1'); a.click();",
    "javascript address": f"{MAKE_LINK} a.href = 'javascript:window.ran=1'; a.click();",
    "image with handler": "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = 1\">');",
    "eval": "setTimeout(() => { try { eval('window.ran = 1'); } catch { console.log('Content Security Policy'); } });",
    "fetch": "fetch('https://example.invalid/').then(() => (window.ran = 1), () => {});",
    "inline style": "document.body.setAttribute('style', 'outline-width: 77px');"
    "if (getComputedStyle(document.body).outlineWidth === '77px') window.ran = 1;",
}


@pytest.mark.parametrize("kind", ATTACKS)
def test_the_policy_stops_what_gets_into_the_page(kind: str, browser: Browser, small: Written) -> None:
    with opened(browser, small.path) as own:
        own.page.evaluate(f"() => {{ {ATTACKS[kind]} }}")
        own.page.wait_for_timeout(200)
        assert own.page.evaluate("window.ran") is None
        assert [c for c in own.complaints if "Content Security Policy" in c], "the browser did not refuse it"

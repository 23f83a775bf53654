"""What the page's file holds: one script, a policy that names it, and nothing that is fetched."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from graphs import write_page
from graphs.page.circuit_page import json_block
from tests.graphs.page.page_circuits import MLP, labels_saying, small_circuit


class Elements(HTMLParser):
    """Attributes of all elements, and the text of scripts and style sheets."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] in ("script", "style"):
            self.texts.append((*self.elements[-1], data))


@pytest.fixture
def page(tmp_path: Path) -> str:
    write_page(small_circuit(), tmp_path / "p.html", title="cats & dogs", labels=labels_saying("x"))
    return (tmp_path / "p.html").read_text(encoding="utf-8")


def test_the_policy_names_script_and_style_by_their_hashes_and_allows_nothing_else(page: str) -> None:
    found = Elements(page)
    script = next(text for _, attributes, text in found.texts if attributes.get("type") == "module")
    style = next(text for tag, _, text in found.texts if tag == "style")
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    metas = [a for tag, a in found.elements if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    assert [meta["content"] for meta in metas] == [
        f"default-src 'none'; script-src 'sha256-{hashes[0]}'; style-src 'sha256-{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    ]


def test_the_page_names_no_address_but_the_namespace_of_svg(page: str) -> None:
    addresses = re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'<)]*", page)
    assert set(addresses) == {"http://www.w3.org/2000/svg"}
    for tag, attributes in Elements(page).elements:
        assert not {"src", "href", "srcset", "action", "data"} & set(attributes), tag
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
    assert not re.search(r"@import|url\((?!#)|innerHTML|outerHTML\s*=|\beval\b|document\.write", page)


def test_the_same_circuit_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_page(small_circuit(), tmp_path / name, title="t", labels=labels_saying("x"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_hostile_title_and_state_end_no_element(tmp_path: Path) -> None:
    title = '</title></h1><script>alert(1)</script>"><img src=x onerror=alert(2)> $script $$ & \u202e'
    groups = [(title, ["token@noun", f"{MLP}/7@noun"])]
    write_page(small_circuit(), tmp_path / "p.html", title=title, supernodes=groups)
    found = Elements((tmp_path / "p.html").read_text(encoding="utf-8"))
    plain = tmp_path / "plain.html"
    write_page(small_circuit(), plain, title="t")
    assert found.elements[6:] == Elements(plain.read_text(encoding="utf-8")).elements[6:]
    state = next(text for _, attributes, text in found.texts if attributes.get("id") == "state")
    assert json.loads(state)["groups"] == [{"name": title, "members": groups[0][1]}]
    assert "<" not in json_block(title)


@pytest.mark.parametrize("where", ["pinned", "supernodes"])
def test_a_pinned_or_grouped_name_that_is_no_node_is_an_error_and_writes_nothing(where: str, tmp_path: Path) -> None:
    names: Any = ["token@nowhere"] if where == "pinned" else [("group", ["token@noun", "token@nowhere"])]
    with pytest.raises(LookupError, match=r"no node 'token@nowhere'. It has, among others: token@noun"):
        write_page(small_circuit(), tmp_path / "p.html", title="t", **{where: names})
    assert not list(tmp_path.iterdir())

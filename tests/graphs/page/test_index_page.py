"""The index of circuits of single pairs: every pair in a row with a link, nothing that runs, and the same as data."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from graphs.files.index_json import CircuitIndex, IndexedCircuit, load_index, save_index
from graphs.page.index_page import write_index_page
from tests.graphs.page.test_page_inert import HOSTILE

FIRST = IndexedCircuit(
    pair=0,
    folder="pair-000",
    clean="<s> the doctors near the cake",
    patch="<s> the doctor near the cake",
    answer=" are",
    wrong=" is",
    clean_metric=7.25,
    patch_metric=-7.5,
    faithfulness=0.913,
    nodes=1234,
    edges=56,
    colour="amber",
)
UNDEFINED = replace(FIRST, pair=1, folder="pair 1", wrong="", faithfulness=None, colour="red")
INDEX = CircuitIndex("agreement on a model", "logit_difference", "logits", (FIRST, UNDEFINED))


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    save_index(INDEX, tmp_path / "index.json")
    assert load_index(tmp_path / "index.json") == INDEX
    content = json.loads((tmp_path / "index.json").read_text(encoding="utf-8"))
    assert content["circuits"][0]["folder"] == "pair-000"
    content["circuits"][0]["nodes"] = "many"
    (tmp_path / "index.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=r"index\.json: .*nodes"):
        load_index(tmp_path / "index.json")


def test_the_page_has_a_row_for_each_pair_with_a_link_to_its_page(browser: Browser, tmp_path: Path) -> None:
    write_index_page(INDEX, tmp_path / "index.html", page="circuit.html")
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    rows = [row.inner_text().split("\t") for row in page.locator("tbody tr").all()]
    assert rows[0][1:] == [
        "<s> the doctors near the cake → are",
        "<s> the doctor near the cake → is",
        "+7.25",
        "−7.50",
        "0.91",
        "1,234",
        "56",
        "▲amber",
    ]
    assert (rows[1][2], rows[1][5], rows[1][8]) == ("<s> the doctor near the cake", "undefined", "■red")
    links = [link.get_attribute("href") for link in page.locator("a").all()]
    assert links == ["pair-000/circuit.html", "pair%201/circuit.html"]
    assert "the logit difference on each prompt, in logits" in page.inner_text("main")
    page.close()


def test_hostile_text_stays_text_and_nothing_is_requested(browser: Browser, tmp_path: Path) -> None:
    page = browser.new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    for name, text in HOSTILE.items():
        hostile = replace(FIRST, clean=text, patch=text, answer=text, wrong=text)
        write_index_page(CircuitIndex(text, text, text, (hostile,)), tmp_path / "index.html", page="circuit.html")
        page.goto((tmp_path / "index.html").as_uri())
        counts = {tag: page.locator(tag).count() for tag in ("script", "img", "a", "tbody tr", "b", "style")}
        assert counts == {"script": 0, "img": 0, "a": 1, "tbody tr": 1, "b": 2, "style": 1}, name
        assert page.evaluate("window.ran") is None
    assert len(requests) == len(HOSTILE)
    page.close()

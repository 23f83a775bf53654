"""The page of dictionaries in a real browser: its figures are drawn, it asks for nothing, and data stays data."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from graphs import write_quality_page
from tests.graphs.page.test_page_inert import HOSTILE
from tests.worlds.qualities import at_site, dictionaries, quality

SEVERAL = [*dictionaries("a", (10.0, 0.3), (20.0, 0.2)), *dictionaries("b", (15.0, 0.2))]


def opened(browser: Browser, path: Path) -> tuple[str, int, list[str]]:
    """The text of the page, the number of its drawn figures, and everything that it did but should not."""
    page, complaints = browser.new_page(viewport={"width": 1400, "height": 900}), list[str]()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: complaints.append(request.url) if request.url != path.as_uri() else None)
    page.goto(path.as_uri())
    page.wait_for_selector(".plotly-graph-div .main-svg")
    if page.evaluate("window.ran") is not None:
        complaints.append("ran")
    if page.evaluate("document.documentElement.scrollWidth") > 1400:
        complaints.append("wider than the window")
    found = page.evaluate("document.body.textContent"), page.locator("figure .main-svg").count(), complaints
    page.close()
    return found


def test_one_set_and_several_are_drawn_without_a_request(browser: Browser, tmp_path: Path) -> None:
    write_quality_page([quality("mine")], tmp_path / "one.html", title="one")
    text, drawn, complaints = opened(browser, tmp_path / "one.html")
    assert complaints == []
    assert drawn >= 4
    assert "mine: the dictionary at L0 resid_post raises the cross-entropy" in text
    assert "At equal L0" not in text
    write_quality_page(SEVERAL, tmp_path / "several.html", title="several")
    text, more, complaints = opened(browser, tmp_path / "several.html")
    assert complaints == []
    assert more > 2 * drawn
    assert "the smallest FVU at equal L0 has b at 1 of 1 L0" in text


WORDS = {kind: text for kind, text in HOSTILE.items() if kind not in ("long", "lines", "controls")}
"""Texts of which a browser changes nothing."""


@pytest.mark.parametrize("hostile", [" ".join(HOSTILE.values()), WORDS["one long word"]], ids=["all", "one long word"])
def test_hostile_names_stay_inert_and_are_shown(hostile: str, browser: Browser, tmp_path: Path) -> None:
    found = [quality(name, name, at_site(hostile), text=hostile) for name in (hostile, "b")]
    write_quality_page(found, tmp_path / "page.html", title=hostile)
    text, _, complaints = opened(browser, tmp_path / "page.html")
    assert complaints == []
    assert all(word in text for word in WORDS.values() if word in hostile)

"""The page of a sweep in a real browser: it draws, asks for nothing, and data stay data."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser

from graphs import Caution, SteeredText, SteeringSweep, write_steering_page
from tests.graphs.page.test_page_inert import ATTACKS, COUNT, HOSTILE
from tests.graphs.words.test_steering_words import SWEEP

_SET_BY_PLOTLY = ("tspan", "text", "path", "rect", "g", "defs", "clipPath")
"""How many there are depends on the width of labels."""
_MEANT = ("inline style",)
"""What plotly needs, and the page allows: a style can do no harm."""


def saying(texts: Sequence[str]) -> SteeringSweep:
    """The sweep with a prompt for each text, and the texts in every other place that takes one."""
    numbers = tuple(float(n) for n in range(len(texts)))
    strengths = tuple(
        replace(
            found,
            metric=numbers,
            kl=numbers,
            likeliest=tuple(texts),
            samples=tuple(SteeredText(n, text, 1, 1.0) for n, text in enumerate(texts)),
        )
        for found in SWEEP.strengths
    )
    caution = Caution("node_named_twice", texts[0], {"shared": 1, "pairs": 1}, texts[0])
    return replace(
        SWEEP,
        changes=tuple(texts),
        maxima={},
        metric=texts[0],
        unit=texts[1],
        prompts=tuple(texts),
        strengths=strengths,
        warnings=(caution,),
    )


def seen(browser: Browser, path: Path, script: str = "() => null") -> dict[str, Any]:
    """What the open page has, what it asked for and what the browser complained of."""
    page = browser.new_page()
    complaints, asked = list[str](), list[str]()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("#curve .main-svg")
    page.evaluate(script)
    page.wait_for_timeout(200)
    elements = page.evaluate(COUNT)
    found = {
        "elements": {name: count for name, count in elements.items() if name not in _SET_BY_PLOTLY},
        "text": page.evaluate("document.body.textContent"),
        "ran": page.evaluate("window.ran"),
        "lines": page.locator("#curve .scatterlayer .trace").count(),
        "wide": page.evaluate("document.documentElement.scrollWidth"),
        "asked": asked,
        "complaints": complaints,
    }
    page.close()
    return found


def test_the_page_draws_the_curve_the_table_and_the_texts_and_asks_for_nothing(
    browser: Browser, tmp_path: Path
) -> None:
    write_steering_page(SWEEP, tmp_path / "page.html", title="agreement")
    found = seen(browser, tmp_path / "page.html")
    assert found["lines"] == 6
    for text in ("agreement", "−1.5", "+0.500", "a b c", "one", "27:add=1max, max 12.3", "fluency 1.00"):
        assert text in found["text"]
    assert found["asked"] == [(tmp_path / "page.html").as_uri()]
    assert found["complaints"] == []


def test_hostile_texts_stay_inert_and_are_shown(browser: Browser, tmp_path: Path) -> None:
    texts = list(HOSTILE.values())
    write_steering_page(saying(texts), tmp_path / "page.html", title=texts[0])
    write_steering_page(saying(["plain"] * len(texts)), tmp_path / "tame.html", title="plain")
    found, tame = (seen(browser, tmp_path / name) for name in ("page.html", "tame.html"))
    assert found["elements"] == tame["elements"], "an element was made from data"
    assert found["ran"] is None
    assert found["complaints"] == []
    assert found["wide"] <= 1280
    for text in texts:
        shown = text.replace("\0", "").replace("\r\n", "\n")
        assert found["text"].count(shown) >= 6, "change, prompt, likeliest token and sample at each strength"


def test_the_policy_stops_what_gets_into_the_page(browser: Browser, tmp_path: Path) -> None:
    write_steering_page(SWEEP, tmp_path / "page.html", title="agreement")
    attacks = [script for kind, script in ATTACKS.items() if kind not in _MEANT]
    found = seen(browser, tmp_path / "page.html", f"() => {{ {' '.join(f'{{ {a} }}' for a in attacks)} }}")
    assert found["ran"] is None
    refused = [c for c in found["complaints"] if "Content Security Policy" in c]
    assert len(refused) >= len(attacks), found["complaints"]

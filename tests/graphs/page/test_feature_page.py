"""The page of a feature: what its report says, nothing that runs, and one file."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from graphs import Context, FeatureLabel, FeatureReport, write_feature_page
from graphs.features.feature_report import (
    Continuation,
    FiringInside,
    FiringToken,
    ReadingFeature,
    TextEffect,
    TriggerTest,
    WritingPart,
)
from tests.graphs.page.test_page_inert import HOSTILE

Shown = Callable[[FeatureReport], dict[str, str]]


def report_saying(text: str) -> FeatureReport:
    """A report with the text in every place that holds one."""
    weights = ((text, 1.5), (f"{text}!", -0.5))
    context = Context((text, f" {text}", text), 1, 2.5)
    label = FeatureLabel("blocks.2.hook_attn_out", 7, text, "contexts", (context,), weights, weights, 0.25, 1.25)
    return FeatureReport(
        model=text,
        label=label,
        corpus=text,
        tokens=400,
        fires_on=(FiringToken(text, 75, 100),),
        inside=(FiringInside(text, 0.5, 0.25, 0.125), FiringInside("number", 0.0, None, 0.0)),
        written=(
            WritingPart("head", 2, 3, 1.5, 0.25, 1.25, ((text, 1.0),)),
            WritingPart("mlp", 0, None, -0.25, 0.0, -0.25),
        ),
        readers=(ReadingFeature("blocks.3.hook_mlp_out", 9, 0.5, -0.75, -0.125, (text,)),),
        text=TextEffect(2.0, 2.25, 0.125, 300, 5, 75),
        continuations=(Continuation(text, text, text),),
        test=TriggerTest(16, 1.25, 15, weights, 12, 10, 0.0),
    )


@pytest.fixture
def shown(browser: Browser, tmp_path: Path) -> Iterator[Shown]:
    """A function from a report to the text of its page's sections."""
    page = browser.new_page()

    def sections(report: FeatureReport) -> dict[str, str]:
        write_feature_page(report, tmp_path / "feature.html")
        page.goto((tmp_path / "feature.html").as_uri())
        return {s.locator("h2").inner_text(): s.inner_text() for s in page.locator("section").all()}

    yield sections
    page.close()


def test_every_section_says_what_was_measured(shown: Shown) -> None:
    text = shown(report_saying("the dogs"))
    assert list(text) == [
        "Causal test",
        "What fires it",
        "What writes it",
        "What it promotes",
        "Which later features read it",
        "What its ablation does to text",
    ]
    assert "The causal test holds." in text["Causal test"]
    assert "the 2 tokens that it promotes fall by 1.25 on average; they fall in 15 of 16" in text["Causal test"]
    assert "(12 prompts, 10 with the same last token): no logit changes at all." in text["Causal test"]
    assert "the dogs\t75\t100\t75.0%" in text["What fires it"]
    assert "the dogs\t50.0%\t25.0%\t12.5%" in text["What fires it"]
    assert "number" not in text["What fires it"], "a context that the text does not have"
    assert "125.0%\t+1.50\t+0.250\t" in text["What writes it"]
    assert "−25.0%\t−0.250\t+0.00" in text["What writes it"]
    assert "L3 mlp_out/9\t+0.500\t−0.750\t−12.5%\tthe dogs" in text["Which later features read it"]
    assert "0.5 for each of the 75 places where it fires" in text["What its ablation does to text"]
    assert "cross-entropy 2.000 → 2.250 nats per token (+0.250)" in text["What its ablation does to text"]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"largest": 0.5}, "The causal test fails: logits change where the feature never fires."),
        ({"promoted": -1.0}, "does not hold: without it, the tokens that its direction promotes do not fall."),
        ({"promoted": None}, "one-sided: the direction is not added to the residual stream"),
        ({"silent": 0, "alike": 0, "largest": None}, "one-sided: the text has no prompt in which the feature never"),
    ],
)
def test_a_test_that_does_not_hold_says_why(shown: Shown, changed: dict[str, float | None], sentence: str) -> None:
    report = report_saying("a")
    assert report.test is not None
    assert sentence in shown(replace(report, test=replace(report.test, **changed)))["Causal test"]


def test_what_is_not_there_is_said(shown: Shown) -> None:
    report = report_saying("a")
    silent = replace(report.label, contexts=(), frequency=0.0, mean_activation=None, promoted=None, suppressed=None)
    nothing = TextEffect(2.0, 2.0, 0.0, 300, 5, 0)
    empty = replace(
        report, label=silent, fires_on=(), written=None, readers=(), text=nothing, continuations=(), test=None
    )
    text = shown(empty)
    assert "It never fires on this text" in text["Causal test"]
    assert "It fires nowhere, or everywhere" in text["What writes it"]
    assert "promotes no token directly" in text["What it promotes"]
    assert "No later feature changes" in text["Which later features read it"]
    assert "it fires nowhere there, and nothing changes" in text["What its ablation does to text"]
    assert "neurons of an MLP" in shown(replace(report, written=None))["What writes it"]


def test_hostile_text_stays_text_and_nothing_is_requested(browser: Browser, tmp_path: Path) -> None:
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    for name, text in HOSTILE.items():
        write_feature_page(report_saying(text), tmp_path / "feature.html")
        page.goto((tmp_path / "feature.html").as_uri())
        counts = {tag: page.locator(tag).count() for tag in ("script", "img", "section", "a", "style", "li", "b")}
        assert counts == {"script": 0, "img": 0, "section": 6, "a": 0, "style": 1, "li": 1, "b": 0}, name
        assert page.evaluate("window.ran") is None
        assert page.evaluate("document.documentElement.scrollWidth") <= 1000, name
    assert len(requests) == len(HOSTILE)
    page.close()


def test_the_rules_of_the_style_sheet_are_in_force(browser: Browser, tmp_path: Path) -> None:
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    write_feature_page(report_saying("the dogs"), tmp_path / "feature.html")
    page.goto((tmp_path / "feature.html").as_uri())
    assert page.locator("section").first.evaluate("(s) => getComputedStyle(s).borderLeftWidth") == "6px"
    boxes = [section.bounding_box() for section in page.locator("section").all()]
    assert len({round(box["x"]) for box in boxes if box is not None}) == 2, "two columns"
    assert complaints == []
    page.close()

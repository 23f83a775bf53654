"""A browser, and pages to open in it: one of the embedded model's circuit, one of a circuit made by hand."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from attribution.prompts.metrics import logit_difference
from attribution.splice.spliced_model import SplicedModel
from circuits.discovery.discover import discover
from circuits.discovery.selection import Selection
from circuits.embedded.load import embedded_model, embedded_saes
from circuits.labels.corpus import embedded_corpus
from circuits.labels.feature_labels import label
from circuits.tasks.prompts import task_pairs
from graphs import CircuitGraph, FeatureNode, Labels, write_page
from tests.graphs.page.opened import Opened, opened
from tests.graphs.page.page_circuits import labels_saying, small_circuit

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"No browser: none of {', '.join(CHROMIUM)} is on PATH.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@dataclass(frozen=True)
class Written:
    """A circuit with its labels and its page."""

    circuit: CircuitGraph
    labels: Labels
    path: Path


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A circuit of the embedded model: three pairs, with all estimates and a certificate."""
    spliced = SplicedModel(embedded_model(), embedded_saes("topk"))
    pairs, other = (task_pairs("agreement", split, 3, 0, spliced.model) for split in ("train", "held_out"))
    select = Selection(nodes=60)
    circuit = discover(
        spliced, pairs, logit_difference, select=select, rank_by="chord-ig", splits={"held_out": other}
    ).circuit
    features = sorted({(w.node.site, w.node.index) for w in circuit.nodes if isinstance(w.node, FeatureNode)})
    labels = label(spliced, features, embedded_corpus(spliced.model, documents=20))
    path = tmp_path_factory.mktemp("embedded") / "page.html"
    write_page(circuit, path, title="agreement on embedded", labels=labels)
    return Written(circuit, labels, path)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The circuit of `page_circuits.py`."""
    circuit, labels = small_circuit(), labels_saying("a noun")
    path = tmp_path_factory.mktemp("small") / "page.html"
    write_page(circuit, path, title="small", labels=labels)
    return Written(circuit, labels, path)


@pytest.fixture
def on_embedded(browser: Browser, embedded: Written) -> Iterator[Opened]:
    """The embedded model's page. A message in the console, a dialog or a request fails the test."""
    with opened(browser, embedded.path) as own:
        yield own
        assert own.complaints == []


@pytest.fixture
def on_small(browser: Browser, small: Written) -> Iterator[Opened]:
    """The small circuit's page. A message in the console, a dialog or a request fails the test."""
    with opened(browser, small.path) as own:
        yield own
        assert own.complaints == []

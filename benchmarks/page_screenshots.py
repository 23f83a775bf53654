"""Pictures of the page in five states, 1400 and 800 pixels wide, to be looked at.

    python -m benchmarks.page_screenshots circuit.json FOLDER [--labels labels.json]

The states: as the page opens; the strongest feature traced, with its panel; a search with its matches; a supernode of
the three strongest features; dark, at a node whose estimate is wrong. A picture of the narrow page shows all of it.
"""

import argparse
import shutil
import tempfile
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Browser, Playwright, sync_playwright

from circuits import load_circuit, write_page
from graphs import CircuitGraph, FeatureNode, Labels, load_labels
from graphs.page.payload import payload

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = {1400: 900, 800: 1000}


def main() -> None:
    """Write ten pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("circuit", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--labels", type=Path)
    arguments = parser.parse_args()
    circuit = load_circuit(arguments.circuit)
    labels = load_labels(arguments.labels) if arguments.labels else None
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as temporary:
        page = Path(temporary) / "page.html"
        write_page(circuit, page, title=arguments.circuit.resolve().parent.name, labels=labels)
        browser = launched(playwright)
        for state, fragment in fragments_of_states(circuit, labels).items():
            for width, height in WIDTHS.items():
                path = arguments.folder / f"{state}_{width}.png"
                save_picture(browser, f"{page.as_uri()}#{fragment}", path, (width, height), "dark" in state)
                print(path)
        browser.close()


def launched(playwright: Playwright) -> Browser:
    """A headless Chromium; ends the program where none is installed."""
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if chromium is None:
        raise SystemExit(f"None of {', '.join(CHROMIUM)} is on PATH. Install Chromium.")
    return playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])


def fragments_of_states(circuit: CircuitGraph, labels: Labels | None) -> dict[str, str]:
    """The fragment of the page's address, for each state."""
    features = [w.node for w in circuit.strongest() if isinstance(w.node, FeatureNode)]
    if len(features) < 3:
        raise SystemExit("The circuit has fewer than 3 features to group. Give a larger one.")
    names = [circuit.name(node) for node in features]
    group = "|".join(["strongest three", *names[:3]])
    return {
        "1_opens": "",
        "2_traced": urlencode({"node": names[0], "tab": "node"}),
        "3_search": urlencode({"query": searched_word(circuit, labels, features), "tab": "nodes"}),
        "4_supernode": urlencode({"group": group, "node": "group/strongest three", "tab": "node"}),
        "5_dark_flagged": urlencode({"node": strongest_flagged(circuit) or names[0], "tab": "node"}),
    }


def searched_word(circuit: CircuitGraph, labels: Labels | None, features: list[FeatureNode]) -> str:
    """The last word of the strongest feature's label; without a label, the token at its position."""
    site, index = features[0].site, features[0].index
    if labels is not None and (site, index) in labels:
        return labels.of(site, index).text.split(" | ")[0].split()[-1]
    return circuit.positions[features[0].position].clean_token.strip()


def strongest_flagged(circuit: CircuitGraph) -> str | None:
    """The name of the strongest feature that some estimate is wrong about; None if there is none."""
    header, _ = payload(circuit, title="", labels=None)
    numbers = {n for method in header["methods"] for n in method["flags"]}
    found = [w for n, w in enumerate(circuit.nodes) if n in numbers and isinstance(w.node, FeatureNode)]
    return circuit.name(max(found, key=lambda w: abs(w.effect)).node) if found else None


def save_picture(browser: Browser, url: str, path: Path, size: tuple[int, int], dark: bool) -> None:
    """Write a picture of one state."""
    width, height = size
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light")
    page.goto(url)
    page.wait_for_selector("html[data-ready]")
    page.wait_for_timeout(200)
    page.screenshot(path=path, full_page=width < 1020)
    page.close()


if __name__ == "__main__":
    main()

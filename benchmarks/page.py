"""The page of large circuits in headless Chromium: file size, first paint, drawing, filters, traces, memory.

    python -m benchmarks.page [--repeats R]

Circuits are generated (`generated_circuit.py`): one of 2,000 nodes and 50,000 edges, one of 200 nodes and 2,000 edges.
Times are medians in milliseconds, without a GPU. "drawn" runs from the start of the navigation until the circuit is on
the canvas; "flag", "search" and "trace" run from the event until the frame after the one that shows its outcome. Writes
`benchmarks/page.json` and ends with an error if a target is missed.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.generated_circuit import generated_circuit
from circuits import write_page

SIZES = {"2,000 nodes, 50,000 edges": (2_000, 50_000), "200 nodes, 2,000 edges": (200, 2_000)}
TARGETS = {
    "2,000 nodes, 50,000 edges": {"file kB": 700, "drawn ms": 1000, "flag ms": 100, "search ms": 100, "trace ms": 100},
    "200 nodes, 2,000 edges": {"file kB": 300, "drawn ms": 1000, "flag ms": 100, "search ms": 100, "trace ms": 100},
}
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
TIMERS_SCRIPT = """
new MutationObserver((_, observer) => {
  if (!document.documentElement?.dataset.ready) return;
  observer.disconnect();
  requestAnimationFrame(() => requestAnimationFrame(() => (window.drawnAt = performance.now())));
}).observe(document, { attributes: true, subtree: true, attributeFilter: ["data-ready"] });
const timed = (type) => addEventListener(type, (event) => {
  const from = event.timeStamp;
  requestAnimationFrame(() => requestAnimationFrame(() => (window.took = performance.now() - from)));
}, { capture: true });
["pointerup", "change", "input"].forEach(timed);
"""
SET_INPUT_SCRIPT = """([id, value, type]) => {
  const input = document.getElementById(id);
  input.value = value;
  input.dispatchEvent(new Event(type, { bubbles: true }));
}"""
POINTS_OVER_NODES_SCRIPT = """(count) => {
  const canvas = document.getElementById("graph");
  const { left, top, width, height } = canvas.getBoundingClientRect();
  const found = [];
  for (let n = 0; n < 20000 && found.length < count; n++) {
    const [x, y] = [left + 90 + ((n * 97.3) % (width - 110)), top + 20 + ((n * 61.7) % (height - 100))];
    canvas.dispatchEvent(new PointerEvent("pointermove", { clientX: x, clientY: y, bubbles: true }));
    if (canvas.classList.contains("over-node")) found.push([x, y]);
  }
  return found;
}"""


def main() -> None:
    """Measure every case and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    if repeats < 1:
        raise SystemExit(f"--repeats must be at least 1; got {repeats}.")
    chromium = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if chromium is None:
        raise SystemExit(f"None of {', '.join(CHROMIUM)} is on PATH. Install Chromium.")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        results = {
            name: measure_page(browser, Path(folder) / "page.html", *size, repeats) for name, size in SIZES.items()
        }
        version = browser.version
        browser.close()
    load = os.getloadavg()[0]
    print(f"Chromium {version}, no GPU, medians of {repeats}; load average {load:.1f} on {os.cpu_count()} cores")
    missed = [miss for name, values in results.items() for miss in case_table(name, values)]
    content = {"chromium": version, "repeats": repeats, "load": round(load, 1), "cases": results, "missed": missed}
    Path(__file__).with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if missed:
        raise SystemExit("Missed: " + "; ".join(missed))


def case_table(case: str, values: dict[str, float]) -> list[str]:
    """Print one case beside its targets. Returns a sentence for each target that was missed."""
    print(f"\n{case}\n  {'':16} {'median':>9} {'target':>9}")
    for name, value in values.items():
        target = TARGETS[case].get(name)
        print(f"  {name:16} {value:9.1f} {'' if target is None else f'< {target}':>9}")
    return [f"{case}: {n} {values[n]:.1f}, target {t}" for n, t in TARGETS[case].items() if not values[n] < t]


def measure_page(browser: Browser, path: Path, nodes: int, edges: int, repeats: int) -> dict[str, float]:
    """The medians for one circuit. Every repeat opens the page anew."""
    circuit, labels = generated_circuit(nodes, edges)
    write_page(circuit, path, title=f"Generated: {nodes} nodes, {edges} edges", labels=labels)
    runs = [one_run(browser, path) for _ in range(repeats + 1)][1:]  # the first run warms the browser up
    return {"file kB": path.stat().st_size / 1000} | {n: statistics.median(run[n] for run in runs) for n in runs[0]}


def one_run(browser: Browser, path: Path) -> dict[str, float]:
    """Open the page and use it; returns every number that was measured."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.add_init_script(TIMERS_SCRIPT)
    page.goto(path.as_uri())
    drawn = number_when_set(page, "drawnAt")
    paint: Any = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    found = {"first paint ms": float(paint), "drawn ms": drawn}
    points: list[list[float]] = page.evaluate(POINTS_OVER_NODES_SCRIPT, 5)
    if len(points) < 5:
        raise SystemExit("Found no nodes under the pointer, so nothing was drawn.")
    traces = [milliseconds_of(page, lambda x=x, y=y: page.mouse.click(x, y)) for x, y in points]
    found["trace ms"] = statistics.median(traces)
    page.mouse.move(3, 3)
    page.keyboard.press("Escape")
    found["flag ms"] = milliseconds_of(page, lambda: page.evaluate(SET_INPUT_SCRIPT, ["flag", "any", "change"]))
    page.evaluate(SET_INPUT_SCRIPT, ["flag", "", "change"])
    found["search ms"] = milliseconds_of(page, lambda: page.evaluate(SET_INPUT_SCRIPT, ["search", "haling", "input"]))
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    found["heap MB"] = session.send("Runtime.getHeapUsage")["usedSize"] / 1e6
    page.close()
    return found


def milliseconds_of(page: Page, act: Callable[[], object]) -> float:
    """Milliseconds from the event that `act` causes until its outcome is on the screen."""
    page.evaluate("window.took = undefined")
    act()
    return number_when_set(page, "took")


def number_when_set(page: Page, name: str) -> float:
    """The number that the page sets when it is done. It is polled until it is there."""
    for _ in range(400):
        value = page.evaluate(f"window.{name} ?? null")
        if value is not None:
            return float(value)
        page.wait_for_timeout(25)
    raise SystemExit(f"The page did not set {name} within 10 s.")


if __name__ == "__main__":
    main()

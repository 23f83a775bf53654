"""A page of a circuit as it is open in a real browser, and what it has drawn."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Dialog, Page

LOG: Final = (Path(__file__).parent / "drawing_log.js").read_text(encoding="utf-8")
BRIGHT: Final = 0.5
_POINTS: Final = {4: "error", 10: "metric"}


@dataclass(frozen=True)
class DrawnNode:
    """A node on the canvas: its kind, place, size and how bright it is."""

    kind: str
    x: float
    y: float
    radius: float
    alpha: float
    fill: str


@dataclass(frozen=True)
class Drawn:
    """The last frame: nodes (each once, as bright as it was last drawn), rings by colour, curves, texts."""

    nodes: tuple[DrawnNode, ...]
    rings: tuple[str, ...]
    curves: int
    texts: tuple[str, ...]

    def bright(self) -> int:
        return sum(node.alpha >= BRIGHT for node in self.nodes)


@dataclass
class Opened:
    """The page and everything that it did but should not: console messages, errors, requests, dialogs."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def frame(self) -> Drawn:
        """What is drawn once all waiting frames are done."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        log: dict[str, Any] = self.page.evaluate("window.drawn")
        nodes: dict[tuple[float, float], DrawnNode] = {}
        for entry in log["nodes"]:
            node = _node(entry)
            if node is not None:
                nodes[round(node.x, 1), round(node.y, 1)] = node
        rings = tuple(ring["stroke"] for ring in log["rings"] if ring["width"] < 2)
        return Drawn(tuple(nodes.values()), rings, log["curves"], tuple(log["texts"]))

    def at(self, node: DrawnNode) -> tuple[float, float]:
        """Where the pointer must be to be over a node."""
        box = self.page.locator("#graph").bounding_box()
        assert box is not None
        return box["x"] + node.x, box["y"] + node.y

    def click(self, node: DrawnNode) -> None:
        self.page.mouse.click(*self.at(node))

    def panel(self) -> str:
        return self.page.locator("#panel").inner_text()

    def fragment(self) -> str:
        return self.page.evaluate("location.hash.slice(1)")


def _node(entry: dict[str, Any]) -> DrawnNode | None:
    (first, *numbers), *more = entry["shape"]
    if first == "arc":
        kind, (x, y, radius) = "feature", numbers[:3]
    elif first == "rect":
        kind, radius = "token", numbers[2] / 1.8
        x, y = numbers[0] + numbers[2] / 2, numbers[1] + numbers[3] / 2
    elif first == "moveTo":
        points = [numbers, *(rest[1:] for rest in more)]
        kind, x = _POINTS[len(points)], numbers[0]
        low, high = min(p[1] for p in points), max(p[1] for p in points)
        radius = (high - low) / 2.5
        y = numbers[1] + 1.25 * radius
    elif numbers[3] == 18:
        return None  # the plate behind a name
    else:
        kind, radius = "supernode", numbers[3] / 2
        x, y = numbers[0] + numbers[2] / 2, numbers[1] + radius
    return DrawnNode(kind, x, y, radius, entry["alpha"], entry["fill"])


@contextmanager
def opened(browser: Browser, path: Path, fragment: str = "", **options: Any) -> Iterator[Opened]:
    """The page at a path, drawn; options as of `Browser.new_page`."""
    page = browser.new_page(**{"viewport": {"width": 1400, "height": 900}, "color_scheme": "light", **options})
    page.set_default_timeout(10_000)
    url = path.as_uri() + (f"#{fragment}" if fragment else "")
    own = Opened(page, url)
    page.on("console", lambda message: own.complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: own.complaints.append(f"error: {error}"))
    page.on("dialog", partial(_refuse, own))
    page.on("request", lambda request: _note_request(own, request.url))
    page.add_init_script(LOG)
    try:
        page.goto(url)
        page.wait_for_selector("html[data-ready]")
        yield own
    finally:
        page.close()


def _refuse(own: Opened, dialog: Dialog) -> None:
    own.complaints.append(f"dialog: {dialog.message}")
    dialog.dismiss()


def _note_request(own: Opened, url: str) -> None:
    if url.split("#")[0] != own.url.split("#")[0] and not url.startswith("blob:null/"):
        own.complaints.append(f"request: {url}")

"""Write a circuit as one HTML page that works from disk: template, style, scripts and data in one file.

The page's Content-Security-Policy names its one script and its one style sheet by their hashes and allows nothing else:
no request, no other script, no inline handler. Data is a compressed text (`columns.py`) that no parser of HTML reads.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Final

from graphs.circuit_graph import CircuitGraph
from graphs.feature_labels import Labels
from graphs.page.findings_shown import findings_shown
from graphs.page.pack_columns import pack
from graphs.page.payload import payload
from graphs.page.scripts import bundle
from graphs.verdict import Verdict

_HERE: Final = Path(__file__).parent


def write_page(
    circuit: CircuitGraph,
    path: str | Path,
    *,
    title: str,
    labels: Labels | None = None,
    verdict: Verdict | None = None,
    pinned: Sequence[str] = (),
    supernodes: Sequence[tuple[str, Sequence[str]]] = (),
) -> None:
    """One self-contained, interactive HTML file.

    Args:
        circuit: what is drawn; its certificate is what the page opens with.
        path: the file to write.
        title: heading of the page.
        labels: of the circuit's features; others are ignored.
        verdict: a checker's verdict on the same prompts: its findings and own paths are shown at their nodes.
        pinned: names of nodes that are pinned when the page opens.
        supernodes: named groups of two or more nodes, by their names; metric nodes are left out of them.

    Raises:
        LookupError: a pinned or grouped name is no node of the circuit.
    """
    for name in (*pinned, *(member for _, members in supernodes for member in members)):
        circuit.node(name)
    state = {"pins": list(pinned), "groups": [{"name": n, "members": list(m)} for n, m in supernodes]}
    header, columns = payload(circuit, title=title, labels=labels, findings=findings_shown(circuit, verdict))
    style = (_HERE / "style.css").read_text(encoding="utf-8")
    script = bundle("main.js")
    page = Template((_HERE / "circuit_page.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        data=pack(header, columns),
        state=json_block(state),
    )
    Path(path).write_text(page, encoding="utf-8")


def json_block(content: Any) -> str:
    """JSON that can stand between script tags: no `<` in it."""
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()

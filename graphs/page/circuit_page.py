"""The interactive page of a circuit: template, style sheet, scripts and data in one HTML file that works from disk.

Its Content-Security-Policy allows the one script and the one style sheet, by their hashes, and nothing else: no
request, no other script, no inline handler. The data are one compressed text (`pack_columns.py`) that is never parsed
as HTML.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from graphs.circuit_graph import CircuitGraph, refuse_other_than_circuit
from graphs.feature_labels import Labels
from graphs.page.pack_columns import pack_columns
from graphs.page.payload import payload
from graphs.page.scripts import bundle_scripts
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
    """Write the circuit as one self-contained, interactive HTML file.

    Args:
        circuit: what is drawn; the page opens with its certificate.
        path: the file to write.
        title: heading of the page.
        labels: feature labels; those of features outside the circuit are ignored.
        verdict: the verdict of a check on the same prompts; its findings and own paths are shown at their nodes.
        pinned: names of the nodes that are pinned when the page opens.
        supernodes: name and member nodes of each group of two or more nodes; metric nodes are left out of groups.

    Raises:
        LookupError: a pinned or grouped name is not a node of the circuit.
    """
    refuse_other_than_circuit(circuit)
    for name in (*pinned, *(member for _, members in supernodes for member in members)):
        circuit.node(name)
    state = {"pins": list(pinned), "groups": [{"name": n, "members": list(m)} for n, m in supernodes]}
    header, columns = payload(circuit, title=title, labels=labels, verdict=verdict)
    write_packed_page(header, columns, path, title=title, state=state)


def write_packed_page(
    header: Mapping[str, Any],
    columns: Mapping[str, np.ndarray],
    path: str | Path,
    *,
    title: str,
    state: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write a page from the data that its scripts read (`payload`), and the state that it opens in."""
    style = (_HERE / "style.css").read_text(encoding="utf-8")
    script = bundle_scripts("main.js")
    page = Template((_HERE / "circuit_page.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        style=style,
        style_hash=sha256_of(style),
        script=script,
        script_hash=sha256_of(script),
        data=pack_columns(header, columns),
        state=json_block(dict(state)),
    )
    Path(path).write_text(page, encoding="utf-8")


def json_block(content: Any) -> str:
    """JSON that is safe between script tags: it contains no `<`."""
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


def sha256_of(text: str) -> str:
    """The hash of a script or a style sheet, as a Content-Security-Policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()

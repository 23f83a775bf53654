"""What `find` prints: the circuit's certificate, its strongest nodes and edges, and where the files are."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from attribution.runs.chunk_store import ChunkStore
from circuits.commands.shared.run_files import RunFolder
from circuits.discovery.deciding import DECISION_STAGE
from circuits.discovery.discover import Found
from circuits.selection.watch import Round, SearchCost
from circuits.terminal.amounts import time_in_words
from circuits.terminal.cautions import COLOUR_STYLES
from circuits.terminal.printable import printable_token
from circuits.terminal.progress import Bar
from graphs import CertificateLine, CircuitGraph, MetricNode, WeightedNode, certificate_lines
from graphs.nodes import EVERYWHERE, Node, short_site
from graphs.site_trial import TrialOfSites
from graphs.words.certificate_words import COLOUR_MARKS
from graphs.words.number_formats import counted_noun
from graphs.words.site_words import trial_in_words

_AGAIN = "again"
"""Heading of the share of resamples that have a node or an edge."""
_WIDE = 100
"""Columns of a terminal that has room for readings and bars."""


@dataclass
class StageWatch:
    """Shows every stage and times it, prints what was decided and what a search will cost, and the set of every round.

    Without a console nothing is printed, as for one pair of many.

    Attributes:
        console, bar, store: where sentences are printed, stages are shown, and finished work is kept.
        seconds, expected: what each stage took and was expected to take when it began, by its name.
        foretold: what stages were expected to take before anything was measured.
    """

    console: Console | None
    bar: Bar
    seconds: dict[str, float]
    store: ChunkStore
    expected: dict[str, float] = field(default_factory=dict)
    foretold: dict[str, float] = field(default_factory=dict)
    stage: str | None = None
    since: float = 0.0

    def decided(self, sentence: str) -> None:
        """The method was chosen."""
        earlier = self.store.tallies[DECISION_STAGE].reused > 0
        note = f" (Decided when the run in {self.store.folder} began; --no-resume decides again.)" if earlier else ""
        if self.console is not None:
            self.console.print(sentence + note, highlight=False)

    def foretells(self, seconds: Mapping[str, float]) -> None:
        """All stages were forecast."""
        self.foretold.update(seconds)

    def enters(self, stage: str | None, seconds: float | None = None) -> None:
        """A stage begins, or none, which ends the one before it."""
        now = time.perf_counter()
        if self.stage is not None:
            self.seconds[self.stage] = self.seconds.get(self.stage, 0.0) + now - self.since
        self.stage, self.since = stage, now
        if stage is None:
            return
        if seconds is not None:
            self.expected[stage] = self.expected.get(stage, 0.0) + seconds
        self.bar.enters(stage if seconds is None else f"{stage} (about {time_in_words(seconds)})")

    def begins(self, cost: SearchCost) -> None:
        """A search begins."""
        if self.console is not None:
            self.console.print(cost.sentence, highlight=False)

    def went(self, found: Round) -> None:
        """A round of it ended."""
        on = f"{found.training:.2f}" + ("" if found.validation is None else f", validation {found.validation:.2f}")
        self.bar.says(f"searching: {found.size:,} nodes, F {on}")

    def ended(self) -> None:
        """It ended."""
        self.bar.says("")


def print_found(console: Console, found: Found, target: RunFolder, *, title: str, rows: int) -> None:
    """What was measured, the certificate, the `rows` strongest nodes and edges, and where the files are."""
    circuit = found.circuit
    console.print(
        Group(
            _headline(found, title),
            Text(),
            certificate_table(circuit, console.width),
            Text(),
            _table(circuit, rows, console.width),
            Text(),
            _edges(circuit, rows, console.width),
            Text(),
            _closing(found, target),
        )
    )


def print_trial(console: Console, trial: TrialOfSites | None) -> None:
    """What each kind of site lets through, if that was tried."""
    if trial is not None:
        console.print(trial_in_words(trial), highlight=False)


def certificate_table(circuit: CircuitGraph, width: int) -> RenderableType:
    """First the lines that judge, then those that only inform; on a narrow terminal, readings stand below their lines.

    A mark repeats the colour for terminals without colours: ● green, ▲ amber, ■ red.
    """
    lines = certificate_lines(circuit)
    lines = (*(n for n in lines if n.colour != "grey"), *(n for n in lines if n.colour == "grey"))
    if width < _WIDE:
        return Group(*(part for line in lines for part in _narrow(line)))
    table = Table(box=None, pad_edge=False, show_header=False, show_edge=False)
    for _ in range(3):
        table.add_column("", no_wrap=True)
    table.add_column("", overflow="fold")
    for line in lines:
        table.add_row(*_certificate_row(line))
    return table


def _narrow(line: CertificateLine) -> tuple[RenderableType, RenderableType]:
    mark, name, value, reading = _certificate_row(line)
    return Text(" ").join((mark, name, value)), Padding(reading, (0, 0, 0, 2))


def _certificate_row(line: CertificateLine) -> list[Text]:
    style = COLOUR_STYLES[line.colour]
    return [
        Text(COLOUR_MARKS[line.colour], style=style),
        Text(line.name),
        Text(line.value, style=style),
        Text(line.reading, "dim"),
    ]


def _headline(found: Found, title: str) -> Text:
    measured = found.circuit.measurement
    text = Text()
    text.append(f"{title}\n", style="bold")
    text.append(
        f"{measured.metric}, {measured.examples} pair(s), {measured.method}, {measured.error_mode} errors, "
        f"{measured.patch_value} patch\n"
    )
    circuit = found.circuit
    nodes, edges = counted_noun(len(circuit.strongest()), "node"), counted_noun(len(circuit.edges), "edge")
    text.append(f"circuit of {nodes} ({_by_kind(circuit)}) and {edges}, ", style="bold")
    text.append(f"total effect {measured.total_effect:+.3f} {measured.metric_unit} (mean)", style="bold")
    return text


def _by_kind(circuit: CircuitGraph) -> str:
    """How many nodes there are of each kind; other lines count some kinds only."""
    kinds = [weighted.node.kind for weighted in circuit.strongest()]
    return ", ".join(counted_noun(kinds.count(kind), kind) for kind in ("feature", "error", "token") if kind in kinds)


def _edges(circuit: CircuitGraph, rows: int, width: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", show_edge=False)
    table.add_column("weight", justify="right", no_wrap=True, min_width=8)
    table.add_column("± s.e.", justify="right", no_wrap=True, min_width=6)
    table.add_column(_AGAIN, justify="right", no_wrap=True, min_width=5)
    table.add_column("from", no_wrap=True)
    table.add_column("to", no_wrap=True)
    for edge in sorted(circuit.edges, key=lambda e: -abs(e.weight))[:rows]:
        table.add_row(
            Text(f"{edge.weight:+.4f}", style="green" if edge.weight >= 0 else "magenta"),
            "" if edge.standard_error is None else f"{edge.standard_error:.4f}",
            _rate(edge.inclusion),
            *(Text(_end(circuit, node, width)) for node in (edge.source, edge.target)),
        )
    return table


def _end(circuit: CircuitGraph, node: Node, width: int) -> str:
    """The name of an edge's end; in a narrow terminal a short one."""
    name = circuit.name(node)
    return name if width >= _WIDE else short_site(name).removesuffix(f"@{EVERYWHERE}")


def _table(circuit: CircuitGraph, rows: int, width: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", show_edge=False)
    table.add_column("effect", justify="right", no_wrap=True, min_width=8)
    table.add_column("± s.e.", justify="right", no_wrap=True, min_width=6)
    table.add_column(_AGAIN, justify="right", no_wrap=True, min_width=5)
    wide = width >= _WIDE
    if wide:
        table.add_column("", no_wrap=True)
    names = [circuit.name(w.node).rpartition("@")[0] for w in circuit.strongest(rows)]
    table.add_column("site/feature", no_wrap=True, min_width=max(map(len, names), default=0))
    table.add_column("position", no_wrap=True, min_width=8)
    table.add_column("token", no_wrap=True)
    if wide:
        table.add_column("clean → patch", justify="right", no_wrap=True)
    strongest = circuit.strongest(rows)
    largest = max((abs(w.effect) for w in strongest), default=1.0) or 1.0
    for weighted in strongest:
        row = _row(circuit, weighted)
        if wide:
            row.insert(3, Text("█" * max(1, round(12 * abs(weighted.effect) / largest)), style=_colour(weighted)))
        table.add_row(*(row if wide else row[:-1]))
    return table


def _row(circuit: CircuitGraph, weighted: WeightedNode) -> list[str | Text]:
    node = weighted.node
    assert not isinstance(node, MetricNode)
    position = circuit.positions[node.position]
    tokens = map(printable_token, dict.fromkeys((position.clean_token, position.patch_token)))
    values = "" if weighted.clean is None or weighted.patch is None else f"{weighted.clean:.2f} → {weighted.patch:.2f}"
    return [
        Text(f"{weighted.effect:+.4f}", style=_colour(weighted)),
        "" if weighted.standard_error is None else f"{weighted.standard_error:.4f}",
        _rate(weighted.inclusion),
        Text(circuit.name(node).rpartition("@")[0]),
        Text(position.label),
        Text(" → ".join(tokens)),
        values,
    ]


def _rate(inclusion: float | None) -> str:
    return "" if inclusion is None else f"{inclusion:.0%}"


def _colour(weighted: WeightedNode) -> str:
    return "green" if weighted.effect >= 0 else "magenta"


def _closing(found: Found, target: RunFolder) -> Text:
    measured = found.circuit.measurement
    share = "" if measured.share_kept is None else f", which carry {measured.share_kept:.0%} of Σ|effect|"
    pruned = (
        f", {measured.pruned:,} of them pruned (on no path from a token or an error to the metric)"
        if measured.pruned
        else ""
    )
    kept = len(found.circuit.strongest()) + measured.pruned
    text = Text(f"{kept:,} of {counted_noun(measured.nodes_measured, 'node')} chosen{share}{pruned}. ")
    text.append(f"{len(found.circuit.edges):,} of {counted_noun(measured.edges_measured, 'edge')} kept.\n")
    if any(w.inclusion is not None for w in found.circuit.nodes):
        text.append(f"{_AGAIN}: found again in this share of the circuits found on resampled pairs\n", style="dim")
    if found.checked is not None:
        text.append(f"Counted in every pair: {found.checked.sentence}\n")
    text.append(f"effect: in {measured.unit}; {measured.sign}\n", style="dim")
    text.append(f"Open {target.page} in a browser. ", style="bold")
    beside = (target.circuit, target.effects, target.verdict, target.labels, target.run)
    text.append(f"Beside it: {', '.join(path.name for path in beside if path.is_file())}.")
    return text

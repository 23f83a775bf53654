"""`jumpwire export`: write a circuit as an interactive page or as files for other tools. Loads no model, no torch."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from circuits.commands.export_inputs import beside, read_source, refuse_labels_of_other_saes
from circuits.commands.shared.options import option
from circuits.terminal.printable import printable
from circuits.terminal.whole_run import RUN_FILE
from graphs import (
    NeuronpediaGraph,
    Verdict,
    keep_edges,
    load_labels,
    load_verdict,
    write_dot,
    write_graphml,
    write_neuronpedia,
    write_page,
    write_tables,
)
from graphs.files.whole_file import refuse_unwritable, whole_file

FILES: Final = "Files to write"
CONTENT: Final = "Content"
FORMATS: Final[Mapping[str, str]] = {
    "html": "interactive page; open it in a browser",
    "neuronpedia": "Neuronpedia / circuit-tracer graph",
    "graphml": "GraphML for Gephi, yEd, Cytoscape, igraph",
    "tables": "Parquet: nodes and edges",
    "dot": "DOT for Graphviz; cannot be read back",
}


@dataclass(frozen=True)
class ExportOptions:
    """What is written where, and what goes into it; None where the default stands or nothing is written."""

    source: Annotated[
        str,
        typer.Argument(
            metavar="CIRCUIT",
            help="Folder of a run of find, circuit.json, Neuronpedia / circuit-tracer JSON, .graphml, or folder of "
            "tables.",
        ),
    ]
    html: Annotated[
        str | None, option(FILES, "Write an interactive page: one file, which needs no network.", metavar="FILE")
    ] = None
    neuronpedia: Annotated[
        str | None, option(FILES, "Write Neuronpedia / circuit-tracer graph JSON.", metavar="FILE")
    ] = None
    graphml: Annotated[
        str | None, option(FILES, "Write GraphML, for Gephi, yEd, Cytoscape or igraph.", metavar="FILE")
    ] = None
    tables: Annotated[
        str | None, option(FILES, "Write nodes.parquet and edges.parquet into this folder.", metavar="FOLDER")
    ] = None
    dot: Annotated[str | None, option(FILES, "Write DOT for Graphviz.", metavar="FILE")] = None
    max_edges: Annotated[
        int | None,
        option(
            CONTENT,
            "Keep this many edges, the strongest, and also the strongest into and out of each node; what is left out "
            "is printed.",
            min=1,
        ),
    ] = None
    labels: Annotated[
        str | None,
        option(
            CONTENT,
            "Labels of features. Default: those in the file, else labels.json beside it, if there is one.",
            metavar="FILE",
        ),
    ] = None
    verdict: Annotated[
        str | None,
        option(CONTENT, "Verdict of check. Default: verdict.json beside the circuit, if there is one.", metavar="FILE"),
    ] = None
    slug: Annotated[
        str | None, option(CONTENT, "Name of the graph on Neuronpedia. Default: that of the task.", metavar="NAME")
    ] = None
    scan: Annotated[
        str | None, option(CONTENT, "Name of the model on Neuronpedia. Default: that of the circuit.", metavar="NAME")
    ] = None
    title: Annotated[str | None, option(CONTENT, "Heading of the page. Default: task and model.", metavar="TEXT")] = (
        None
    )

    @property
    def targets(self) -> dict[str, Path]:
        """The files asked for, by format."""
        return {name: Path(given) for name in FORMATS if (given := getattr(self, name)) is not None}


def export(console: Console, options: ExportOptions) -> None:
    """Write a circuit as an interactive page, or as files that other tools read. Loads no model."""
    source = Path(options.source)
    _refuse(source, options.targets)
    for name, target in options.targets.items():
        refuse_unwritable(target if name == "tables" else target.parent)
    with console.status("reading"):
        graph, verdict = _read(source, options)
    whole = graph.circuit
    if options.max_edges is not None:
        thin, left_out = keep_edges(whole, options.max_edges)
        graph = replace(graph, circuit=thin)
        console.print(Text(left_out.sentence))
        if len(thin.edges) > options.max_edges:
            console.print(
                Text("More than asked for, because every node keeps its strongest edges in and out.", style="dim")
            )
    console.print(Text(_summary(graph, verdict)))
    with console.status("writing"):
        for name, target in options.targets.items():
            if name == "tables":
                write_tables(graph.circuit, target, labels=graph.labels)
                continue
            with whole_file(target) as path:
                _WRITERS[name](graph, path, verdict, options)
    console.print(_written(options.targets))


def _refuse(source: Path, targets: Mapping[str, Path]) -> None:
    """A ValueError for targets that cannot be written or would overwrite the source or each other."""
    if not targets:
        raise ValueError(f"Choose what to write: {', '.join(f'--{name}' for name in FORMATS)}, each with a path.")
    run = source if source.is_dir() else source.parent
    taken = {(run / name).resolve(): f"the run's {name}" for name in (RUN_FILE, "effects.parquet", "verdict.json")}
    taken |= {(run / "circuit.json").resolve(): "the run's circuit", source.resolve(): "the circuit that is read"}
    for name, path in targets.items():
        if name == "tables" and path.is_file():
            raise ValueError(f"--tables {path} is a file: give a folder.")
        if name != "tables" and path.is_dir():
            raise ValueError(f"--{name} {path} is a folder: give a file in it, as in {path / 'circuit'}.")
        if path.resolve() in taken and not (name == "tables" and source.is_dir()):
            raise ValueError(f"--{name} {path} would overwrite {taken[path.resolve()]}: give another path.")
        taken[path.resolve()] = f"what --{name} writes"


def _read(source: Path, options: ExportOptions) -> tuple[NeuronpediaGraph, Verdict | None]:
    graph = read_source(source)
    if (path := beside(source, "labels", options.labels)) is not None and (graph.labels is None or options.labels):
        labels = load_labels(path)
        refuse_labels_of_other_saes(graph.circuit, labels, path)
        graph = replace(graph, labels=labels)
    found = beside(source, "verdict", options.verdict)
    return graph, None if found is None else load_verdict(found)


def _summary(graph: NeuronpediaGraph, verdict: Verdict | None) -> str:
    circuit = graph.circuit
    features = circuit.features
    labelled = 0 if graph.labels is None else len(graph.labels.only(features))
    parts = [
        f"{len(circuit.strongest())} nodes",
        f"{len(circuit.edges)} edges",
        f"{labelled} of {len(features)} features labelled",
    ]
    if graph.pinned or graph.supernodes:
        parts.append(f"{len(graph.pinned)} pinned, {len(graph.supernodes)} supernode(s)")
    parts.append("with a certificate" if circuit.certificate is not None else "without a certificate")
    parts += [] if verdict is None else ["with a verdict"]
    return f"{', '.join(parts)}. Evidence: {printable(circuit.measurement.evidence)}."


def _written(targets: Mapping[str, Path]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, target in targets.items():
        size = sum(file.stat().st_size for file in _files(target))
        table.add_row(Text(str(target), style="bold"), Text(f"{size / 1000:,.0f} kB"), Text(FORMATS[name], style="dim"))
    return table


def _files(target: Path) -> list[Path]:
    return [target / f"{name}.parquet" for name in ("nodes", "edges")] if target.is_dir() else [target]


def _name(graph: NeuronpediaGraph, options: ExportOptions) -> str:
    """The circuit's name: its task, or else the name of the file it was read from."""
    task = graph.circuit.measurement.inputs.get("task", graph.circuit.measurement.inputs.get("slug"))
    return str(task or Path(options.source).resolve().stem)


def _model(graph: NeuronpediaGraph) -> str:
    inputs = graph.circuit.measurement.inputs
    return str(inputs.get("model") or inputs.get("scan") or "unknown-model").rstrip("/").rpartition("/")[2]


def _as_slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-") or "circuit"


def _html(graph: NeuronpediaGraph, path: Path, verdict: Verdict | None, options: ExportOptions) -> None:
    title = options.title or f"{_name(graph, options)} on {_model(graph)}"
    marks = {"pinned": graph.pinned, "supernodes": graph.supernodes}
    write_page(graph.circuit, path, title=title, labels=graph.labels, verdict=verdict, **marks)


def _neuronpedia(graph: NeuronpediaGraph, path: Path, _: Verdict | None, options: ExportOptions) -> None:
    write_neuronpedia(
        graph.circuit,
        path,
        slug=options.slug or _as_slug(_name(graph, options)),
        scan=options.scan or _as_slug(_model(graph)),
        labels=graph.labels,
        pinned=graph.pinned,
        supernodes=graph.supernodes,
        clicked=graph.clicked,
    )


def _graphml(graph: NeuronpediaGraph, path: Path, _: Verdict | None, __: ExportOptions) -> None:
    write_graphml(graph.circuit, path, labels=graph.labels)


def _dot(graph: NeuronpediaGraph, path: Path, _: Verdict | None, __: ExportOptions) -> None:
    write_dot(graph.circuit, path, labels=graph.labels)


_WRITERS: Final[Mapping[str, Callable[[NeuronpediaGraph, Path, Verdict | None, ExportOptions], None]]] = {
    "html": _html,
    "neuronpedia": _neuronpedia,
    "graphml": _graphml,
    "dot": _dot,
}

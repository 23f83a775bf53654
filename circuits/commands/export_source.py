"""What `jumpwire export` reads: a circuit from any file that can hold one, and what lies beside it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from graphs import (
    CircuitGraph,
    Labels,
    NeuronpediaGraph,
    load_circuit,
    read_graphml,
    read_neuronpedia,
    read_tables,
)
from graphs.files.circuit_json import SCHEMA
from graphs.files.neuronpedia_read import is_neuronpedia
from graphs.files.tables import NODES_FILE

KINDS: Final = "a run's folder, a circuit.json, a Neuronpedia or circuit-tracer graph, a .graphml, a folder of tables"


def read_source(path: Path) -> NeuronpediaGraph:
    """The circuit of a file or folder, with the labels and marks of a graph file."""
    if path.is_dir():
        if (path / "circuit.json").is_file():
            return _bare(load_circuit(path / "circuit.json"))
        if (path / NODES_FILE).is_file():
            return _bare(read_tables(path))
        raise FileNotFoundError(f"{path}: there is no circuit.json and no {NODES_FILE} in this folder.")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file. Give {KINDS}.")
    if path.suffix == ".graphml":
        return _bare(read_graphml(path))
    content = _json(path)
    if is_neuronpedia(content):
        return read_neuronpedia(path)
    if isinstance(content, dict) and content.get("schema") == SCHEMA:
        return _bare(load_circuit(path))
    raise ValueError(f"{path}: no circuit. Give {KINDS}.")


def beside(source: Path, name: str, given: str | None) -> Path | None:
    """The file given by --`name`, else `name`.json beside the source if it is there; None where there is none."""
    if given is not None:
        if not Path(given).is_file():
            raise FileNotFoundError(f"--{name} {given}: no such file.")
        return Path(given)
    default = (source if source.is_dir() else source.parent) / f"{name}.json"
    return default if default.is_file() else None


def refuse_others_labels(circuit: CircuitGraph, labels: Labels, path: Path) -> None:
    """A ValueError where the labels are of features of other SAEs than the circuit's, as far as both say theirs."""
    known = circuit.measurement.inputs.get("hashes")
    saes = labels.inputs.get("saes")
    if not isinstance(known, Mapping) or not isinstance(saes, Mapping):
        return
    wrong = [site for site in circuit.sites if site in saes and saes[site] != known.get("saes", {}).get(site)]
    if wrong:
        raise ValueError(
            f"{path}: labels of other SAEs than the circuit's at {wrong[0]}. Make them again with jumpwire labels "
            "--circuit, or give --labels."
        )


def _bare(circuit: CircuitGraph) -> NeuronpediaGraph:
    return NeuronpediaGraph(circuit, labels=None, pinned=(), supernodes=(), clicked=None)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error}). Give {KINDS}.") from None

"""What `jumpwire export` reads: a circuit, from any file that can hold one, with the labels and verdict beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from circuits.terminal.whole_run import refuse_foreign
from graphs import (
    CircuitGraph,
    Labels,
    NeuronpediaGraph,
    load_circuit,
    read_table_labels,
    read_tables,
)
from graphs.files.circuit_json import SCHEMA, circuit_in
from graphs.files.graphml import read_labelled_graphml
from graphs.files.neuronpedia_read import is_neuronpedia, neuronpedia_graph
from graphs.files.plain_json import parse_json
from graphs.files.tables import NODES_FILE
from graphs.files.text_file import read_text

KINDS: Final = "a run's folder, a circuit.json, a Neuronpedia or circuit-tracer graph, a .graphml, a folder of tables"


def read_source(path: Path) -> NeuronpediaGraph:
    """The circuit in a file or folder, and what it carries beside it: labels, pinned nodes and supernodes.

    Raises:
        FileNotFoundError: there is no such file, or the folder holds no circuit.
        ValueError: the file holds no circuit.
    """
    if path.is_dir():
        if (path / "circuit.json").is_file():
            refuse_foreign(path / "circuit.json")
            return _bare(load_circuit(path / "circuit.json"))
        if (path / NODES_FILE).is_file():
            return _bare(read_tables(path), read_table_labels(path))
        raise FileNotFoundError(f"{path}: this folder has neither a circuit.json nor a {NODES_FILE}. Give {KINDS}.")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file. Give {KINDS}.")
    refuse_foreign(path)
    if path.suffix == ".graphml":
        return _bare(*read_labelled_graphml(path))
    content = _json(path)
    if is_neuronpedia(content):
        return neuronpedia_graph(content, path)
    if isinstance(content, dict) and content.get("schema") == SCHEMA:
        return _bare(circuit_in(content, path))
    raise ValueError(f"{path}: this file holds no circuit. Give {KINDS}.")


def beside(source: Path, name: str, given: str | None) -> Path | None:
    """The file given as --`name`; by default `name`.json beside the source, or None if there is no such file."""
    if given is not None:
        if not Path(given).is_file():
            raise FileNotFoundError(f"--{name} {given}: no such file.")
        return Path(given)
    default = (source if source.is_dir() else source.parent) / f"{name}.json"
    refuse_foreign(default)
    return default if default.is_file() else None


def refuse_labels_of_other_saes(circuit: CircuitGraph, labels: Labels, path: Path) -> None:
    """A ValueError if circuit and labels both name their SAEs, and these differ at a site of the circuit."""
    known = circuit.measurement.inputs.get("hashes")
    saes = labels.inputs.get("saes")
    if not isinstance(known, Mapping) or not isinstance(saes, Mapping):
        return
    wrong = [site for site in circuit.sites if site in saes and saes[site] != known.get("saes", {}).get(site)]
    if wrong:
        raise ValueError(
            f"{path}: these labels are of another SAE than the circuit's at {wrong[0]}. Make them again "
            "with jumpwire labels --circuit, or give others with --labels."
        )


def _bare(circuit: CircuitGraph, labels: Labels | None = None) -> NeuronpediaGraph:
    return NeuronpediaGraph(circuit, labels=labels, pinned=(), supernodes=(), clicked=None)


def _json(path: Path) -> Any:
    text = read_text(path)
    try:
        return parse_json(text)
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error}). Give {KINDS}.") from None

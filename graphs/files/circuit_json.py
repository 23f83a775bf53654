"""A circuit as versioned JSON, in and out. The same circuit gives the same bytes."""

from pathlib import Path
from typing import Final

from graphs.circuit_graph import CircuitGraph
from graphs.files.plain_circuit import circuit_from, plain_circuit
from graphs.versioned_json import read, write

SCHEMA: Final = "jumpwire.circuit"
SCHEMA_VERSION: Final = 2


def save_circuit(circuit: CircuitGraph, path: str | Path) -> None:
    """Write the circuit with its certificate; keys are sorted, floats keep every digit."""
    write(path, SCHEMA, SCHEMA_VERSION, plain_circuit(circuit))


def load_circuit(path: str | Path) -> CircuitGraph:
    """Read what `save_circuit` wrote, and check it."""
    content = read(path, SCHEMA, SCHEMA_VERSION)
    try:
        return circuit_from(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None

"""A circuit as versioned JSON, in and out. The same circuit always gives the same bytes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from graphs.circuit_graph import CircuitGraph, refuse_other_than_circuit
from graphs.files.plain_circuit import circuit_from_plain, plain_circuit
from graphs.files.plain_json import read_versioned_json, without_version, write_versioned_json

SCHEMA: Final = "jumpwire.circuit"
SCHEMA_VERSION: Final = 2


def save_circuit(circuit: CircuitGraph, path: str | Path) -> None:
    """Write the circuit and its certificate as JSON; keys are sorted and floats keep every digit."""
    refuse_other_than_circuit(circuit)
    write_versioned_json(path, SCHEMA, SCHEMA_VERSION, plain_circuit(circuit))


def load_circuit(path: str | Path) -> CircuitGraph:
    """Read and check what `save_circuit` wrote.

    Raises:
        ValueError: the file is not a circuit of jumpwire, or is damaged; the message says where.
    """
    return _circuit(read_versioned_json(path, SCHEMA, SCHEMA_VERSION), path)


def circuit_in(content: Any, path: str | Path) -> CircuitGraph:
    """As `load_circuit`, from what the file holds."""
    return _circuit(without_version(content, path, SCHEMA, SCHEMA_VERSION), path)


def _circuit(content: Mapping[str, Any], path: str | Path) -> CircuitGraph:
    try:
        return circuit_from_plain(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None

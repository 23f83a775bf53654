"""The index of several circuits of one run as versioned JSON, in and out: which pair each is of, and how good it is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from graphs.fields.quantities import Count
from graphs.files.plain_json import read_versioned_json, write_versioned_json
from graphs.plain_data import as_plain_data, dataclass_from_plain
from graphs.short_repr import short_repr
from graphs.words.certificate_line import Colour

SCHEMA: Final = "jumpwire.index"
SCHEMA_VERSION: Final = 1


@dataclass(frozen=True)
class IndexedCircuit:
    """One circuit of an index.

    Attributes:
        pair: number of its pair, from 0.
        folder: that of its files, beside the index.
        clean, patch, answer, wrong: the prompts and their answers as text; `wrong` is empty where there is none.
        clean_metric, patch_metric: the metric on both prompts.
        faithfulness: F on the pair; None where it is undefined.
        nodes, edges: numbers of them, without the metric.
        colour: of the worst line of its certificate.
    """

    pair: Count
    folder: str
    clean: str
    patch: str
    answer: str
    wrong: str
    clean_metric: float
    patch_metric: float
    faithfulness: float | None
    nodes: Count
    edges: Count
    colour: Colour


@dataclass(frozen=True)
class CircuitIndex:
    """Circuits of single pairs, and the metric of them all with its unit."""

    __repr__ = short_repr

    title: str
    metric: str
    unit: str
    circuits: tuple[IndexedCircuit, ...]


def save_index(index: CircuitIndex, path: str | Path) -> None:
    """Write an index as JSON; keys are sorted and floats keep every digit."""
    write_versioned_json(path, SCHEMA, SCHEMA_VERSION, as_plain_data(index))


def load_index(path: str | Path) -> CircuitIndex:
    """Read and check what `save_index` wrote.

    Raises:
        ValueError: the file is no index of jumpwire, or is damaged; the message says where.
    """
    content = read_versioned_json(path, SCHEMA, SCHEMA_VERSION)
    try:
        return dataclass_from_plain(
            CircuitIndex, content, circuits=lambda found: dataclass_from_plain(IndexedCircuit, found)
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None

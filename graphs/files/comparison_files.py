"""A comparison of two circuits as versioned JSON, in and out, and as two Parquet tables.

comparison_nodes.parquet   type     meaning
in                         string   both, a or b: the circuits that have the node
a, b                       string   its name in each circuit
kind, site, position       string   of the node
effect_a, effect_b         double   in the unit of each circuit
twin                       string   the matched feature of the other SAE, as site/index
cosine, correlation        double   with the twin

comparison_edges.parquet
in                         string   as above
source_a, target_a, source_b, target_b
                           string   names of nodes in each circuit
weight_a, weight_b         double   in the unit of each circuit
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

from graphs.comparison import ComparedEdge, ComparedNode, Comparison, Overlap, TaskFaithfulness
from graphs.faithfulness import Faithfulness
from graphs.files.plain_json import read_versioned_json, write_versioned_json
from graphs.files.whole_file import whole_file
from graphs.plain_data import as_plain_data, dataclass_from_plain

SCHEMA: Final = "jumpwire.comparison"
SCHEMA_VERSION: Final = 1
NODES_FILE: Final = "comparison_nodes.parquet"
EDGES_FILE: Final = "comparison_edges.parquet"
_NODE_COLUMNS: Final = tuple(f for f in ComparedNode.__dataclass_fields__)
_EDGE_COLUMNS: Final = ("source_a", "target_a", "source_b", "target_b", "weight_a", "weight_b")
_NUMBERS: Final = ("effect_a", "effect_b", "cosine", "correlation", "weight_a", "weight_b")


def save_comparison(comparison: Comparison, path: str | Path) -> None:
    """Write a comparison as JSON; keys are sorted and floats keep every digit."""
    write_versioned_json(path, SCHEMA, SCHEMA_VERSION, as_plain_data(comparison))


def load_comparison(path: str | Path) -> Comparison:
    """Read and check what `save_comparison` wrote.

    Raises:
        ValueError: the file is no comparison of jumpwire, or is damaged; the message says where.
    """
    content = read_versioned_json(path, SCHEMA, SCHEMA_VERSION)
    try:
        found = dataclass_from_plain(
            Comparison,
            content,
            nodes=lambda found: dataclass_from_plain(ComparedNode, found),
            edges=lambda found: dataclass_from_plain(ComparedEdge, found),
            node_overlap=lambda found: dataclass_from_plain(Overlap, found),
            edge_overlap=lambda found: dataclass_from_plain(Overlap, found),
            faithfulness=lambda found: dataclass_from_plain(TaskFaithfulness, found, measured=Faithfulness.from_dict),
        )
        of = found.node_overlap
        if min(of.shared, of.only_a, of.only_b) < 0 or not of.shared + of.only_a or not of.shared + of.only_b:
            raise ValueError("node_overlap counts no nodes of a circuit.")
        return found
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def write_comparison_tables(comparison: Comparison, folder: str | Path) -> None:
    """Write the tables of nodes and edges into a folder, which is created if it does not exist."""
    for name, write in table_writers(comparison).items():
        with whole_file(Path(folder) / name) as path:
            write(path)


def table_writers(comparison: Comparison) -> dict[str, Callable[[Path], None]]:
    """What writes the tables of nodes and edges, by the name of their file."""
    import pyarrow.parquet as pq

    nodes = [{"in": _where(node.a, node.b), **asdict(node)} for node in comparison.nodes]
    edges = [_edge_row(edge) for edge in comparison.edges]
    tables = {NODES_FILE: _table(nodes, ("in", *_NODE_COLUMNS)), EDGES_FILE: _table(edges, ("in", *_EDGE_COLUMNS))}
    return {name: partial(pq.write_table, table) for name, table in tables.items()}


def _where(a: object, b: object) -> str:
    return "both" if a is not None and b is not None else "a" if b is None else "b"


def _edge_row(edge: ComparedEdge) -> dict[str, Any]:
    ends = (*(edge.a or (None, None)), *(edge.b or (None, None)))
    values = dict(zip(_EDGE_COLUMNS, (*ends, edge.weight_a, edge.weight_b), strict=True))
    return {"in": _where(edge.a, edge.b), **values}


def _table(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> Any:
    import pyarrow as pa

    types = {name: pa.float64() if name in _NUMBERS else pa.string() for name in names}
    return pa.table({name: pa.array([row[name] for row in rows], type=types[name]) for name in names})
